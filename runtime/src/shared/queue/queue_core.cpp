// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/queue_core.hpp"

#include "troupe/detail/region.hpp"
#include "troupe/detail/type_name.hpp"
#include "troupe/error.hpp"

#include "base/thread_owned.hpp"
#include "shared/core/kind_rules.hpp"
#include "shared/core/transaction.hpp"
#include "shared/queue/queue_operation.hpp"
#include "shared/queue/queue_socket.hpp"
#include "shared/queue/queue_state.hpp"
#include "shared/queue/queue_storage.hpp"
#include "shared/queue/remote_queue.hpp"
#include "shared/remote/imported_object.hpp"

#include <algorithm>
#include <array>
#include <atomic>
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

/// What is taken and not done is in somebody's slot: who waited for more would wait for ever.
void check_unfinished(transaction& tx) {
  const auto& state = tx.object().state<queue_state>();
  std::uint64_t known = tx.get(state.count);
  for (const process_slot& slot : tx.object().slots()) {
    known += tx.get(slot.counters[taken_and_not_done]);
  }
  check_intact(tx.get(state.unfinished) <= known);
}

}  // namespace

const object_rules& queue_rules(object_kind kind) {
  static constexpr object_rules fifo{object_kind::queue, sizeof(queue_state), give_back};
  static constexpr object_rules lifo{object_kind::lifo_queue, sizeof(queue_state), give_back};
  static constexpr object_rules prio{object_kind::priority_queue, sizeof(queue_state), give_back};
  return kind == object_kind::queue ? fifo : kind == object_kind::lifo_queue ? lifo : prio;
}

namespace {
constinit std::atomic<const known_order*> last_order{nullptr};
}  // namespace

known_order::known_order(std::uint64_t type_tag, queue_before before) noexcept
    : type_tag_{type_tag}, before_{before}, next_{last_order.load()} {
  while (!last_order.compare_exchange_weak(next_, this)) {
  }
}

queue_before known_order::find(std::uint64_t type_tag) noexcept {
  const known_order* at = last_order.load();
  while (at != nullptr && at->type_tag_ != type_tag) {
    at = at->next_;
  }
  return at == nullptr ? nullptr : at->before_;
}

namespace {
constexpr std::size_t most_to_spare = std::size_t{8} << 20;
struct spare_tag;
using spare_buffer = thread_owned<byte_buffer, spare_tag>;
}  // namespace

byte_buffer take_spare_buffer() noexcept {
  byte_buffer* const spare = spare_buffer::get();
  return spare == nullptr ? byte_buffer{} : std::move(*spare);
}

void keep_spare_buffer(byte_buffer& used) noexcept {
  byte_buffer* const spare = spare_buffer::get();
  if (spare != nullptr && used.capacity() > spare->capacity() && used.capacity() <= most_to_spare) {
    used.clear();
    *spare = std::move(used);
  }
}

void fail_to_decode_item(const std::type_info& type, std::size_t bytes, const error& why) {
  throw error{errc::argument_decode_failed, task_ran::no,
              "troupe: an item of " + std::to_string(bytes) + " bytes is no '" + type_name(type) +
                  "': " + why.what()};
}

void fail_queue_closed(const queue_core& /*queue*/, bool for_reader) {
  throw queue_closed{for_reader ? "troupe: the queue is closed, and all its items were taken"
                                : "troupe: the queue is closed, and takes no more items"};
}

struct queue_core::parts {
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

queue_core::queue_core(queue_spec spec) : spec_{std::move(spec)} {}
queue_core::~queue_core() = default;

std::shared_ptr<queue_core> queue_core::create(queue_spec spec) {
  std::shared_ptr<queue_core> made{new queue_core{std::move(spec)}};
  if (!attachments_are_at_hand()) {
    made->get_parts();
  }
  return made;
}

queue_core::parts& queue_core::get_parts() {
  if (remote_ != nullptr) {
    remote_->ensure();  // throws
  }
  if (parts* const there = ready_.load(std::memory_order_acquire)) {
    return *there;
  }
  // Not std::call_once: on some machines an exception does not get through it.
  const std::lock_guard lock{making_};
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

std::shared_ptr<queue_core> queue_core::load(input_archive& ar, const queue_spec& spec) {
  auto object = region::import(load_attachment(ar), queue_rules(spec.kind), spec.type_tag);
  if (object->is_elsewhere()) {
    std::shared_ptr<queue_core> made{new queue_core{spec}};
    ar.read(made->remote_part_ids_.data(), sizeof made->remote_part_ids_, typeid(queue_core));
    made->remote_ = std::move(object);
    return made;
  }
  const auto storage = load_attachment(ar);
  const auto socket = load_attachment(ar);
  return assemble(std::move(object), storage, socket, spec);
}

std::array<std::uint64_t, 2> queue_core::part_ids(const region& object) {
  const auto& state = object.state<queue_state>();
  return {state.storage_id.load(), state.socket_id.load()};
}

std::shared_ptr<queue_core> queue_core::assemble(std::shared_ptr<region> object,
                                                 const std::shared_ptr<const attachment>& storage,
                                                 const std::shared_ptr<const attachment>& socket,
                                                 const queue_spec& spec) {
  if (part_ids(*object) != std::array{storage->id(), socket->id()}) {
    throw error{errc::protocol_error, task_ran::maybe,
                "the parts of a queue that came are not of the same one"};
  }
  std::shared_ptr<queue_core> made{new queue_core{spec}};
  made->parts_ = std::make_unique<parts>(std::move(object), queue_storage{storage},
                                         queue_socket{socket}, spec.before);
  return made;
}

void queue_core::check_comparable(const queue_item& item) const {
  if (spec_.before != nullptr) {
    static_cast<void>(spec_.before(item.bytes.bytes(), item.bytes.bytes()));
  }
}

void queue_core::save(output_archive& ar) {
  if (remote_ != nullptr) {
    save_attachment(ar, remote_);
    return ar.write(remote_part_ids_.data(), sizeof remote_part_ids_);
  }
  const parts& p = get_parts();
  save_attachment(ar, p.object);
  save_attachment(ar, p.storage.as_attachments());
  save_attachment(ar, p.socket.as_attachments());
}

queue_answer queue_core::put(std::span<const queue_item> items, std::size_t& stored,
                             const deadline& until) {
  if (items.empty()) {
    return queue_answer::done;
  }
  if (remote_ != nullptr) [[unlikely]] {
    return remote_queue::put(*remote_, items, stored, until);
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

queue_answer queue_core::get(std::vector<queue_item>& to, std::size_t most, const deadline& until) {
  if (remote_ != nullptr) [[unlikely]] {
    return remote_queue::get(*remote_, to, most, until);
  }
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

void queue_core::task_done() {
  if (remote_ != nullptr) [[unlikely]] {
    return call_remote(*remote_, remote_op::task_done);
  }
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

bool queue_core::join(const deadline& until) {
  if (remote_ != nullptr) [[unlikely]] {
    return call_remote<bool>(*remote_, remote_op::join, time_left(until));
  }
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

void queue_core::close() {
  if (remote_ != nullptr) [[unlikely]] {
    return call_remote(*remote_, remote_op::close);
  }
  parts& p = get_parts();
  transaction tx{*p.object};
  tx.set(p.state().closed, 1);
  tx.wake(has_items);
  tx.wake(has_room);
  tx.commit();
}

bool queue_core::is_closed() {
  if (remote_ != nullptr) [[unlikely]] {
    return call_remote<bool>(*remote_, remote_op::is_closed);
  }
  parts& p = get_parts();
  const transaction tx{*p.object};
  return tx.get(p.state().closed) != 0;
}

std::size_t queue_core::size() {
  if (remote_ != nullptr) [[unlikely]] {
    return call_remote<std::uint64_t>(*remote_, remote_op::size);
  }
  parts& p = get_parts();
  const transaction tx{*p.object};
  return tx.get(p.state().count);
}

std::size_t queue_core::storage_bytes() {
  if (remote_ != nullptr) [[unlikely]] {
    return call_remote<std::uint64_t>(*remote_, remote_op::storage_bytes);
  }
  parts& p = get_parts();
  const transaction tx{*p.object};
  return tx.get(p.state().area_bytes);
}

std::size_t queue_core::capacity() {
  if (remote_ != nullptr) [[unlikely]] {
    return call_remote<std::uint64_t>(*remote_, remote_op::capacity);
  }
  return get_parts().state().capacity.load();
}

std::uint64_t queue_core::id() {
  return remote_ != nullptr ? remote_->id() : get_parts().object->id();
}

const std::string& queue_core::name() {
  return remote_ != nullptr ? remote_->name() : get_parts().object->name();
}

}  // namespace troupe::detail
