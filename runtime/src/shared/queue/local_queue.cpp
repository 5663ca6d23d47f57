// SPDX-License-Identifier: BSD-3-Clause
#include "shared/queue/local_queue.hpp"

#include "troupe/error.hpp"

#include "shared/core/crash_step.hpp"
#include "shared/core/kind_rules.hpp"
#include "shared/core/transaction.hpp"
#include "shared/queue/queue_operation.hpp"
#include "shared/queue/queue_operations.hpp"
#include "shared/queue/queue_records.hpp"
#include "shared/queue/queue_ring.hpp"
#include "shared/queue/queue_socket.hpp"
#include "shared/queue/queue_state.hpp"
#include "shared/queue/queue_storage.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace troupe::detail {
namespace {

/// In a transaction.
void return_items(transaction& tx, process_slot& dead) {
  auto& state = tx.object().state<queue_state>();
  const std::uint64_t taken = tx.get(dead.counters[taken_and_not_done]);
  const std::uint64_t done = tx.get(state.done);
  tx.set(state.done, done + std::min(taken, tx.get(state.taken) - done));
  tx.set(dead.counters[taken_and_not_done], 0);
}

void give_back(transaction& tx, process_slot& dead) {
  if (tx.object().kind() != object_kind::queue) {
    return return_items(tx, dead);
  }
  queue_readers readers{tx.object(), tx.own()};
  auto& state = tx.object().state<queue_state>();
  state.both_sides.store(1, std::memory_order_release);
  crash_step();
  return_items(tx, dead);
  tx.commit();
  state.both_sides.store(0, std::memory_order_release);
  crash_step();
}

/// What is taken and not done is in a slot: a waiter for more than that would wait for ever.
void check_unfinished(const queue_operation& op) {
  std::uint64_t known = op.count();
  for (const process_slot& slot : op.tx.object().slots()) {
    known += op.tx.get(slot.counters[taken_and_not_done]);
  }
  check_intact(op.unfinished() <= known);
}

class local_queues final : public queue_operations {
 public:
  std::shared_ptr<queue_core> load(std::shared_ptr<region> object, input_archive& ar,
                                   const queue_spec& spec) const override {
    const auto storage = load_attachment(ar);
    const auto socket = load_attachment(ar);
    return std::make_shared<local_queue>(std::move(object), storage, socket, spec);
  }
};

const object_operations& local_operations() noexcept {
  static constexpr local_queues one;
  return one;
}

constexpr object_rules rules_for(object_kind kind) {
  return {.kind = kind,
          .min_payload_bytes = sizeof(queue_state),
          .recover = &give_back,
          .local = &local_operations};
}

}  // namespace

const object_rules& queue_rules(object_kind kind) {
  static constexpr object_rules fifo = rules_for(object_kind::queue);
  static constexpr object_rules lifo = rules_for(object_kind::lifo_queue);
  static constexpr object_rules prio = rules_for(object_kind::priority_queue);
  return kind == object_kind::queue ? fifo : kind == object_kind::lifo_queue ? lifo : prio;
}

std::shared_ptr<queue_core> queue_core::create(queue_spec spec) {
  auto made = std::make_shared<local_queue>(std::move(spec));
  if (!attachments_are_at_hand()) {
    made->ensure();
  }
  return made;
}

struct local_queue::parts {
  parts(std::shared_ptr<region> made, queue_storage its_storage, queue_socket its_socket,
        queue_before first)
      : object{std::move(made)},
        storage{std::move(its_storage)},
        readers_storage{storage.as_attachments()},
        socket{std::move(its_socket)},
        before{first} {}

  std::shared_ptr<region> object;
  queue_storage storage;          // used with the region's lock
  queue_storage readers_storage;  // the same memory, used with the second lock alone
  queue_socket socket;
  queue_before before;

  [[nodiscard]] queue_state& state() const { return object->state<queue_state>(); }
  [[nodiscard]] object_kind kind() const { return object->kind(); }
};

local_queue::local_queue(queue_spec spec)
    : queue_core{attachment_route::descriptors}, spec_{std::move(spec)} {}

local_queue::local_queue(std::shared_ptr<region> object,
                         const std::shared_ptr<const attachment>& storage,
                         const std::shared_ptr<const attachment>& socket, queue_spec spec)
    : queue_core{attachment_route::descriptors}, spec_{std::move(spec)} {
  if (part_ids(*object) != std::array{storage->id(), socket->id()}) {
    throw error{errc::protocol_error, task_ran::maybe,
                "the parts of a queue that came are not of the same one"};
  }
  parts_ = std::make_unique<parts>(std::move(object), queue_storage{storage}, queue_socket{socket},
                                   spec_.before);
}

local_queue::~local_queue() = default;

std::array<std::uint64_t, 2> local_queue::part_ids(const region& object) {
  const auto& state = object.state<queue_state>();
  return {state.storage_id.load(), state.socket_id.load()};
}

local_queue::parts& local_queue::get_parts() {
  if (parts* const there = ready_.load(std::memory_order_acquire)) {
    return *there;
  }
  // Not std::call_once: on some machines an exception does not get through it.
  const mutex_guard lock{making_};
  if (!parts_) {
    queue_storage storage;
    queue_socket socket;
    auto object = region::create({.rules = &queue_rules(spec_.kind),
                                  .name = spec_.name,
                                  .payload_bytes = sizeof(queue_state),
                                  .type_tag = spec_.type_tag});
    auto& state = object->state<queue_state>();
    state.capacity = spec_.capacity;
    state.storage_id = storage.as_attachments()->id();
    state.socket_id = socket.as_attachments()->id();
    parts_ = std::make_unique<parts>(std::move(object), std::move(storage), std::move(socket),
                                     spec_.before);
  }
  ready_.store(parts_.get(), std::memory_order_release);
  return *parts_;
}

void local_queue::check_comparable(const queue_item& item) const {
  if (spec_.before != nullptr) {
    static_cast<void>(spec_.before(item.bytes.bytes(), item.bytes.bytes()));
  }
}

void local_queue::save(output_archive& ar) {
  const parts& p = get_parts();
  save_attachment(ar, p.object);
  save_attachment(ar, p.storage.as_attachments());
  save_attachment(ar, p.socket.as_attachments());
}

bool local_queue::put_short(std::span<const queue_item> items, std::size_t& stored,
                            const deadline& until) {
  parts& p = *ready_.load(std::memory_order_relaxed);
  for (;;) {
    {
      queue_writer writer{*p.object};
      auto answer = queue_writer::answer::put;
      while (stored < items.size() && answer == queue_writer::answer::put) {
        answer = writer.put(p.storage, items[stored]);
        stored += answer == queue_writer::answer::put ? 1 : 0;
      }
      if (answer != queue_writer::answer::full) {
        return stored == items.size();
      }
    }
    if (is_over(until) || !spin_for_room(p.state())) {
      return false;
    }
  }
}

queue_answer local_queue::put(std::span<const queue_item> items, std::size_t& stored,
                              const deadline& until) {
  if (items.empty()) {
    return queue_answer::done;
  }
  parts& p = get_parts();
  const bool is_ring = p.kind() == object_kind::queue;
  while (!is_ring || !put_short(items, stored, until)) {
    queue_operation op{*p.object, p.storage, p.socket, p.before};
    // Of a ring one item, and then the short way is tried again.
    for (const std::size_t end = is_ring ? stored + 1 : items.size(); stored < end;) {
      if (op.tx.get(op.state.closed) != 0) {
        return queue_answer::closed;
      }
      const std::uint64_t capacity = op.tx.get(op.state.capacity);
      if (capacity == 0 || op.count() < capacity) {
        op.store(items[stored]);
        ++stored;
      } else if (!op.wait(has_room, until)) {
        return queue_answer::timed_out;
      }
    }
    if (stored == items.size()) {
      break;
    }
  }
  return queue_answer::done;
}

bool local_queue::take_short(queue_item& to, const deadline& until, queue_answer& answer) {
  parts& p = *ready_.load(std::memory_order_relaxed);
  queue_state& state = p.state();
  for (;;) {
    auto found = queue_readers::answer::empty;
    {
      queue_readers readers{*p.object, p.object->own_slot()};
      found = readers.take(p.readers_storage, to);
    }
    switch (found) {
      case queue_readers::answer::taken:
        if (state.capacity.load(std::memory_order_relaxed) != 0) {
          wake_awaited(*p.object, state, has_room);
        }
        answer = queue_answer::done;
        return true;
      case queue_readers::answer::needs_both:
        return false;
      case queue_readers::answer::empty:
        if (is_over(until)) {
          answer = queue_answer::timed_out;
          // A process may have died after it put an item and before it wrote `tail`.
          return state.closed.load() == 0 && state.put_log.is_valid.load() == 0;
        }
        if (!spin_for_items(state)) {
          return false;
        }
    }
  }
}

template <class Keep>
queue_answer local_queue::take_some(std::size_t most, const deadline& until, Keep keep) {
  parts& p = get_parts();
  queue_operation op{*p.object, p.storage, p.socket, p.before};
  for (;;) {
    std::size_t taken = 0;
    while (taken < most && op.count() != 0) {
      queue_item item;
      if (taken == 0) {
        item.bytes = take_spare_buffer();
      }
      try {
        if (!op.take(item)) {
          continue;
        }
      } catch (...) {
        if (taken == 0) {
          throw;
        }
        break;  // this one stays, and those before it were taken
      }
      keep(std::move(item));
      ++taken;
    }
    if (taken != 0) {
      op.give_memory_back();
      return queue_answer::done;
    }
    if (op.tx.get(op.state.closed) != 0) {
      return queue_answer::closed;
    }
    if (!op.wait(has_items, until)) {
      return queue_answer::timed_out;
    }
  }
}

queue_answer local_queue::take(queue_item& to, const deadline& until) {
  parts& p = get_parts();
  if (p.kind() != object_kind::queue) {
    return take_some(1, until, [&](queue_item&& one) { to = std::move(one); });
  }
  queue_answer answer = queue_answer::done;
  if (!take_short(to, until, answer)) {
    return take_some(1, until, [&](queue_item&& one) { to = std::move(one); });
  }
  const queue_state& state = p.state();
  if (answer == queue_answer::done && state.area_bytes.load() > area_to_keep &&
      state.head.load() == state.tail.load()) {
    queue_operation{*p.object, p.storage, p.socket, p.before}.give_memory_back();
  }
  return answer;
}

queue_answer local_queue::get(std::vector<queue_item>& to, std::size_t most,
                              const deadline& until) {
  parts& p = get_parts();
  if (p.kind() == object_kind::queue && !is_over(until)) {
    static_cast<void>(spin_for_items(p.state()));
  }
  return take_some(most, until, [&](queue_item&& one) { to.push_back(std::move(one)); });
}

void local_queue::task_done() {
  parts& p = get_parts();
  if (p.kind() == object_kind::queue) {
    for (;;) {
      queue_readers readers{*p.object, p.object->own_slot()};
      if (!readers.is_interrupted()) {
        readers.finish_one();
        readers.unlock();
        queue_state& state = p.state();
        if (state.done.load() == state.put.load()) {
          wake_awaited(*p.object, state, all_done);
        }
        return;
      }
      readers.unlock();
      const queue_operation finishes{*p.object, p.storage, p.socket, p.before};
    }
  }
  transaction tx{*p.object};
  queue_state& state = p.state();
  const std::uint64_t done = tx.get(state.done);
  if (done >= tx.get(state.taken)) {
    fail_all_done();
  }
  tx.set(state.done, done + 1);
  shared_word& own = tx.own().counters[taken_and_not_done];
  // See queue_readers::finish_one.
  if (tx.get(own) != 0) {
    tx.subtract(own, 1);
  }
  if (done + 1 == tx.get(state.put)) {
    tx.wake(all_done);
  }
  tx.commit();
}

bool local_queue::join(const deadline& until) {
  parts& p = get_parts();
  queue_operation op{*p.object, p.storage, p.socket, p.before};
  while (op.unfinished() != 0) {
    check_unfinished(op);
    if (!op.wait(all_done, until)) {
      return false;
    }
  }
  return true;
}

void local_queue::close() {
  parts& p = get_parts();
  transaction tx{*p.object};
  tx.set(p.state().closed, 1);
  tx.wake(has_items);
  tx.wake(has_room);
  tx.commit();
}

bool local_queue::is_closed() {
  parts& p = get_parts();
  const transaction tx{*p.object};
  return tx.get(p.state().closed) != 0;
}

std::size_t local_queue::size() {
  parts& p = get_parts();
  const queue_operation op{*p.object, p.storage, p.socket, p.before};
  return op.count();
}

std::size_t local_queue::storage_bytes() {
  parts& p = get_parts();
  const transaction tx{*p.object};
  return tx.get(p.state().area_bytes);
}

std::size_t local_queue::capacity() {
  return get_parts().state().capacity.load();
}

std::uint64_t local_queue::id() {
  return get_parts().object->id();
}

const std::string& local_queue::name() {
  return get_parts().object->name();
}

}  // namespace troupe::detail
