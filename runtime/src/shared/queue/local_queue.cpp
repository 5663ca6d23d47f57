// SPDX-License-Identifier: BSD-3-Clause
#include "shared/queue/local_queue.hpp"

#include "troupe/error.hpp"

#include "shared/core/kind_rules.hpp"
#include "shared/core/transaction.hpp"
#include "shared/queue/queue_operation.hpp"
#include "shared/queue/queue_operations.hpp"
#include "shared/queue/queue_socket.hpp"
#include "shared/queue/queue_state.hpp"
#include "shared/queue/queue_storage.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace troupe::detail {
namespace {

void give_back(transaction& tx, process_slot& dead) {
  auto& state = tx.object().state<queue_state>();
  const std::uint64_t taken = tx.get(dead.counters[taken_and_not_done]);
  const std::uint64_t unfinished = tx.get(state.unfinished);
  const std::uint64_t count = tx.get(state.count);
  tx.set(state.unfinished, unfinished - std::min(taken, unfinished - std::min(count, unfinished)));
  tx.set(dead.counters[taken_and_not_done], 0);
}

/// What is taken and not done is in a slot: a waiter for more than that would wait for ever.
void check_unfinished(transaction& tx) {
  const auto& state = tx.object().state<queue_state>();
  std::uint64_t known = tx.get(state.count);
  for (const process_slot& slot : tx.object().slots()) {
    known += tx.get(slot.counters[taken_and_not_done]);
  }
  check_intact(tx.get(state.unfinished) <= known);
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
        socket{std::move(its_socket)},
        before{first} {}

  std::shared_ptr<region> object;
  queue_storage storage;
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

queue_answer local_queue::put(std::span<const queue_item> items, std::size_t& stored,
                              const deadline& until) {
  if (items.empty()) {
    return queue_answer::done;
  }
  parts& p = get_parts();
  queue_operation op{*p.object, p.storage, p.socket, p.before};
  while (stored < items.size()) {
    if (op.tx.get(op.state.closed) != 0) {
      return queue_answer::closed;
    }
    const std::uint64_t capacity = op.tx.get(op.state.capacity);
    if (capacity == 0 || op.tx.get(op.state.count) < capacity) {
      op.store(items[stored]);
      ++stored;
    } else if (!op.wait(has_room, until)) {
      return queue_answer::timed_out;
    }
  }
  return queue_answer::done;
}

queue_answer local_queue::get(std::vector<queue_item>& to, std::size_t most,
                              const deadline& until) {
  parts& p = get_parts();
  queue_operation op{*p.object, p.storage, p.socket, p.before};
  for (;;) {
    // Grown one by one beyond that: the number is not ours.
    to.reserve(std::min({most, op.tx.get(op.state.count), std::uint64_t{1024}}));
    while (to.size() < most && op.tx.get(op.state.count) != 0) {
      queue_item item;
      if (to.empty()) {
        item.bytes = take_spare_buffer();
      }
      try {
        if (!op.take(item)) {
          continue;
        }
      } catch (...) {
        if (to.empty()) {
          throw;
        }
        break;  // this one stays, and those before it were taken
      }
      to.push_back(std::move(item));
    }
    if (!to.empty()) {
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

void local_queue::task_done() {
  parts& p = get_parts();
  transaction tx{*p.object};
  queue_state& state = p.state();
  const std::uint64_t unfinished = tx.get(state.unfinished);
  if (unfinished <= tx.get(state.count)) {
    throw std::logic_error{"troupe: task_done was called more often than items were taken"};
  }
  tx.set(state.unfinished, unfinished - 1);
  shared_word& own = tx.own().counters[taken_and_not_done];
  // Another process may have taken it: then that one's count is too high by one, which matters
  // when it dies, and is bounded there by what is left.
  if (tx.get(own) != 0) {
    tx.subtract(own, 1);
  }
  if (unfinished == 1) {
    tx.wake(all_done);
  }
  tx.commit();
}

bool local_queue::join(const deadline& until) {
  parts& p = get_parts();
  transaction tx{*p.object};
  while (tx.get(p.state().unfinished) != 0) {
    check_unfinished(tx);
    if (!tx.wait(all_done, until)) {
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
  const transaction tx{*p.object};
  return tx.get(p.state().count);
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
