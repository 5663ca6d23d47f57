// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/detail/clock.hpp"
#include "troupe/detail/queue_core.hpp"
#include "troupe/detail/region.hpp"
#include "troupe/error.hpp"
#include "troupe/objects.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace troupe {

namespace detail {

/// What is the same for all three kinds of queues.
template <class T, object_kind Kind, queue_before Before>
class basic_queue {
 public:
  /// The type of an item.
  using value_type = T;
  class iterator;

  /// A queue without a bound.
  ///
  /// @throws error{resource_exhausted}.
  basic_queue() : basic_queue{0} {}
  /// The same, with a name.
  ///
  /// @throws error{resource_exhausted}.
  explicit basic_queue(object_options options) : basic_queue{0, std::move(options)} {}
  /// A queue for at most `capacity` items; 0 means without a bound.
  ///
  /// @throws std::invalid_argument if negative; error{resource_exhausted}.
  template <std::integral Count>
  explicit basic_queue(Count capacity, object_options options = {})
      : core_{queue_core::create(spec(checked(capacity), std::move(options.name)))} {}

  /// Adds an item.
  ///
  /// @blocks while the queue is full.
  /// @throws queue_closed; what encoding throws; error{resource_exhausted} if there is no memory
  ///   left, or too many different shared objects wait in queues. For all of them the queue is as
  ///   it was.
  void put(const T& value) const { static_cast<void>(put_until(value, std::nullopt)); }
  /// Adds an item if there is room. Does not wait for room.
  ///
  /// @returns false: the queue is full.
  /// @throws as put.
  [[nodiscard]] bool try_put(const T& value) const { return put_until(value, now()); }
  /// As put, for a limited time.
  ///
  /// @returns false: the queue was full all the time.
  /// @blocks for at most `timeout`; a negative one is over at once.
  /// @throws as put.
  template <class Rep, class Period>
  [[nodiscard]] bool put_for(const T& value, std::chrono::duration<Rep, Period> timeout) const {
    return put_until(value, deadline_after(timeout));
  }
  /// Adds all of them in order; other producers' items may come between.
  ///
  /// @blocks while the queue is full, as often as it takes.
  /// @throws as put; of the items before the one that failed, all but up to 64 are in the queue.
  template <std::ranges::input_range Range>
    requires std::convertible_to<std::ranges::range_reference_t<Range>, const T&>
  void put_range(Range&& values) const {
    std::vector<queue_item> batch;
    for (const T& value : values) {
      batch.push_back(encoded(value));
      if (batch.size() == batch_items) {
        put_batch(batch, std::nullopt);
        batch.clear();
      }
    }
    put_batch(batch, std::nullopt);
  }

  /// Takes the next item.
  ///
  /// @blocks while the queue is empty.
  /// @throws queue_closed once it is closed and drained; error{argument_decode_failed} if the
  ///   item's bytes are no `T`, and what its `load` throws: the item is then lost, and done;
  ///   error{resource_exhausted} without descriptors for the item's handles: it stays.
  [[nodiscard]] T get() const { return std::move(*get_until(std::nullopt)); }
  /// Takes the next item if there is one. Does not wait for one.
  ///
  /// @returns nothing: the queue is empty.
  /// @throws as get.
  [[nodiscard]] std::optional<T> try_get() const { return get_until(now()); }
  /// As get, for a limited time.
  ///
  /// @returns nothing: the queue was empty all the time.
  /// @blocks for at most `timeout`; a negative one is over at once.
  /// @throws as get.
  template <class Rep, class Period>
  [[nodiscard]] std::optional<T> get_for(std::chrono::duration<Rep, Period> timeout) const {
    return get_until(deadline_after(timeout));
  }
  /// As get, for loops: the end of the queue is no error.
  ///
  /// @returns nothing: the queue is closed and drained.
  /// @blocks while the queue is empty.
  /// @throws as get, without queue_closed.
  [[nodiscard]] std::optional<T> get_optional() const {
    std::optional<T> value;
    static_cast<void>(take(value, std::nullopt));
    return value;
  }
  /// Waits for one item, and takes up to `most` that are there; none if `most` is 0.
  ///
  /// @blocks while the queue is empty.
  /// @throws as get; with an item that does not decode, those that were taken with it are lost.
  [[nodiscard]] std::vector<T> get_some(std::size_t most) const {
    std::vector<T> values;
    if (most != 0) {
      std::vector<queue_item> items;
      if (core().get(items, most, std::nullopt) == queue_answer::closed) {
        fail_queue_closed(true);
      }
      values.reserve(items.size());
      for (queue_item& item : items) {
        values.push_back(decoded(item));
      }
    }
    return values;
  }

  /// The number of items, a moment ago.
  [[nodiscard]] std::size_t size() const { return core().size(); }
  /// There was no item, a moment ago.
  [[nodiscard]] bool empty() const { return size() == 0; }
  /// There was no room, a moment ago.
  [[nodiscard]] bool full() const { return capacity() != 0 && size() >= capacity(); }
  /// The most items it holds, 0: without a bound; never changes.
  [[nodiscard]] std::size_t capacity() const { return core().capacity(); }

  /// Says that an item that was taken is dealt with, by whichever process took it.
  ///
  /// @throws std::logic_error if all that were taken are dealt with already.
  void task_done() const { core().task_done(); }
  /// Waits until every item that was put is dealt with.
  ///
  /// @blocks until `task_done` was called for each of them.
  /// @worker_dies an item that it took and did not finish counts as dealt with: it is lost.
  void join() const { static_cast<void>(core().join(std::nullopt)); }
  /// As join, for a limited time.
  ///
  /// @returns false: the time was over first.
  /// @blocks for at most `timeout`; a negative one only looks.
  template <class Rep, class Period>
  [[nodiscard]] bool join_for(std::chrono::duration<Rep, Period> timeout) const {
    return core().join(deadline_after(timeout));
  }

  /// Takes no more items, from any process; again is fine. Puts that wait end with queue_closed,
  /// readers get what is left.
  void close() const { core().close(); }
  /// It was closed, by any process.
  [[nodiscard]] bool is_closed() const { return core().is_closed(); }

  /// The items as they are taken, until the queue is closed and drained.
  ///
  /// @blocks here and on ++, as get_optional.
  /// @throws as get_optional.
  [[nodiscard]] iterator begin() const { return iterator{*this}; }
  /// The end of that: closed and drained.
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  /// A number that no other object has, in any process.
  [[nodiscard]] std::uint64_t id() const { return core().id(); }
  /// What `.name` said, cut to 255 bytes.
  [[nodiscard]] const std::string& name() const { return core().name(); }
  /// Bytes of memory for items, used or not.
  [[nodiscard]] std::size_t storage_bytes() const { return core().storage_bytes(); }

  /// How the codec writes a handle.
  void save(output_archive& ar) const { core().save(ar); }
  /// How the codec reads a handle.
  void load(input_archive& ar) { core_ = queue_core::load(ar, spec(0, {})); }

 private:
  static constexpr std::size_t batch_items = 64;

  static deadline now() { return std::chrono::steady_clock::time_point{}; }
  static queue_spec spec(std::size_t capacity, std::string name) {
    static_assert(is_reported<encode_refusal<T>> && is_reported<decode_refusal<T>>);
    if constexpr (Kind == object_kind::priority_queue) {
      static_cast<void>(order_);
    }
    return {Kind, tag(), capacity, std::move(name), Before};
  }
  static std::uint64_t tag() noexcept {
    if constexpr (Kind == object_kind::priority_queue) {
      return type_tag_of(typeid(std::integral_constant<queue_before, Before>), sizeof(T));
    } else {
      return type_tag_of(typeid(T), sizeof(T));
    }
  }
  inline static const known_order order_{tag(), Before};

  template <std::integral Count>
  static std::size_t checked(Count capacity) {
    if (std::cmp_less(capacity, 0)) {
      throw std::invalid_argument{"troupe: a queue's capacity cannot be negative: " +
                                  std::to_string(capacity)};
    }
    return static_cast<std::size_t>(capacity);
  }
  [[nodiscard]] queue_core& core() const {
    if (core_ == nullptr) {
      throw error{errc::no_state, task_ran::no, "troupe: this queue was moved from"};
    }
    return *core_;
  }

  [[nodiscard]] queue_item encoded(const T& value) const {
    queue_item item;
    item.bytes = take_spare_buffer();
    const attachment_collector scope{item.attachments, core().route()};
    encode(item.bytes, value);
    return item;
  }
  bool put_until(const T& value, const deadline& until) const {
    if constexpr (blittable<T>) {
      T copy = value;
      queue_item item;
      item.plain = std::as_writable_bytes(std::span{&copy, 1});
      item.is_plain = true;
      return put_batch({&item, 1}, until);
    }
    queue_item item = encoded(value);
    const bool done = put_batch({&item, 1}, until);
    keep_spare_buffer(item.bytes);
    return done;
  }
  bool put_batch(std::span<const queue_item> items, const deadline& until) const {
    std::size_t stored = 0;
    const queue_answer answer = core().put(items, stored, until);
    if (answer == queue_answer::closed) {
      fail_queue_closed(false);
    }
    return answer == queue_answer::done;
  }

  std::optional<T> get_until(const deadline& until) const {
    std::optional<T> value;
    if (take(value, until) == queue_answer::closed) {
      fail_queue_closed(true);
    }
    return value;
  }
  queue_answer take(std::optional<T>& to, const deadline& until) const {
    queue_item item;
    if constexpr (blittable<T>) {
      T value{};
      item.plain = std::as_writable_bytes(std::span{&value, 1});
      const queue_answer answer = core().take(item, until);
      if (item.is_plain) {
        to = value;
        return answer;
      }
      if (answer == queue_answer::done) {
        to = decoded(item);
      }
      return answer;
    } else {
      const queue_answer answer = core().take(item, until);
      if (answer == queue_answer::done) {
        to = decoded(item);
      }
      return answer;
    }
  }
  T decoded(queue_item& item) const {
    const attachment_source scope{item.attachments};
    try {
      T value = decode<T>(item.bytes.bytes());
      keep_spare_buffer(item.bytes);
      return value;
    } catch (const error& why) {
      core().task_done();
      if (why.code() == errc::protocol_error || why.code() == errc::nesting_too_deep) {
        fail_to_decode_item(typeid(T), item.bytes.size(), why);
      }
      throw;
    } catch (...) {
      core().task_done();
      throw;
    }
  }

  std::shared_ptr<queue_core> core_;
};

/// An input iterator that takes the next item when it advances.
template <class T, object_kind Kind, queue_before Before>
class basic_queue<T, Kind, Before>::iterator {
 public:
  /// @{
  /// What the standard asks of an iterator.
  using iterator_concept = std::input_iterator_tag;
  using difference_type = std::ptrdiff_t;
  using value_type = T;
  /// @}

  /// Takes the first item.
  explicit iterator(const basic_queue& from) : from_{from}, item_{from_.get_optional()} {}
  /// The item that was taken last.
  [[nodiscard]] T& operator*() const noexcept { return *item_; }
  /// @{
  /// Takes the next item.
  iterator& operator++() {
    item_ = from_.get_optional();
    return *this;
  }
  void operator++(int) { ++*this; }
  /// @}

  /// The queue is closed and drained.
  [[nodiscard]] friend bool operator==(const iterator& at, std::default_sentinel_t) noexcept {
    return !at.item_.has_value();
  }

 private:
  basic_queue from_;
  mutable std::optional<T> item_;
};

template <class T, class Compare>
bool item_is_before(std::span<const std::byte> a, std::span<const std::byte> b) {
  return Compare{}(decode<T>(a), decode<T>(b));
}

}  // namespace detail

/// Items go in at one end and come out at the other, each once, in any processes of the program.
///
/// The items are bytes in shared memory: no thread and no message is needed for one, and once `put`
/// has returned an item depends on its producer no more. Copies of the handle are the same queue;
/// what holds for every handle is told at object_kind. Each shared object or connection that items
/// refer to takes one descriptor while it waits, of those that the user may have on their way
/// (RLIMIT_NOFILE): one, however many items have it.
///
/// @follows Python's Queue, JoinableQueue and SimpleQueue, with the `shutdown` of its queue.Queue
///   as `close`. `put` itself throws if an item cannot be encoded, and a process may end right
///   after it.
/// @threads any.
/// @crosses as itself: as an argument or result, in another queue, through a pipe.
/// @worker_dies before `put` returned: its item is in the queue or not, never half. What it took
///   and did not finish is lost, and `join` does not wait for it. All else stays.
/// @throws what every handle throws, see object_kind.
template <class T>
class queue : public detail::basic_queue<T, object_kind::queue, nullptr> {
 public:
  using detail::basic_queue<T, object_kind::queue, nullptr>::basic_queue;
};

/// A queue of which the item that was put last comes out first; all else is as with `queue`.
///
/// @threads any.
/// @crosses as itself.
/// @worker_dies as with queue.
/// @throws what every handle throws, see object_kind.
template <class T>
class lifo_queue : public detail::basic_queue<T, object_kind::lifo_queue, nullptr> {
 public:
  using detail::basic_queue<T, object_kind::lifo_queue, nullptr>::basic_queue;
};

/// A queue of which the least item comes out first: the one for which `Compare{}(it, other)` is
/// true of all others; of equal ones the first that was put. All else is as with `queue`.
///
/// Items are decoded to be compared, about log4 of the size times for a put and four times that for
/// a get, under the queue's lock: this is for small items. Handles of shared objects cannot be in
/// them.
///
/// @threads any.
/// @crosses as itself.
/// @worker_dies as with queue.
/// @throws what every handle throws, see object_kind; what `Compare` throws.
template <class T, class Compare = std::less<T>>
class priority_queue : public detail::basic_queue<T, object_kind::priority_queue,
                                                  &detail::item_is_before<T, Compare>> {
 public:
  using detail::basic_queue<T, object_kind::priority_queue,
                            &detail::item_is_before<T, Compare>>::basic_queue;
};

}  // namespace troupe
