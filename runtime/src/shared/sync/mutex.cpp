// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/mutex.hpp"

#include "troupe/error.hpp"

#include "shared/core/kind_rules.hpp"
#include "shared/core/object_lock.hpp"
#include "shared/core/robust_lock_fast.hpp"
#include "shared/remote/imported_object.hpp"

#include <chrono>
#include <limits>
#include <string>
#include <system_error>
#include <utility>

namespace troupe {
namespace detail {

constexpr object_rules mutex_rules{.kind = object_kind::mutex};
constexpr object_rules recursive_rules{.kind = object_kind::recursive_mutex};

namespace {

/// Counts the calling thread among those that wait, for lists; without a slot it is not counted.
class counted_waiter {
 public:
  explicit counted_waiter(region& object) noexcept {
    try {
      count_ = &object.own_slot().waiting[0];
      count_->fetch_add(1);
    } catch (const error&) {  // NOLINT(bugprone-empty-catch): see above
    }
  }
  ~counted_waiter() {
    if (count_ != nullptr) {
      count_->fetch_sub(1);
    }
  }
  counted_waiter(const counted_waiter&) = delete;
  counted_waiter& operator=(const counted_waiter&) = delete;

 private:
  shared_word* count_ = nullptr;
};

}  // namespace

lock_result acquire_object(region& object, const deadline& until) {
  const lock_result result = try_acquire_fast(object.lock());
  if (result != lock_result::busy || is_over(until)) {
    return result;
  }
  const counted_waiter waiting{object};
  return acquire(object.lock(), until);
}

void lock_again(lock_state& lock) {
  const std::uint32_t depth = lock.depth.load(std::memory_order_relaxed);
  if (depth == std::numeric_limits<std::uint32_t>::max()) {
    throw std::system_error{std::make_error_code(std::errc::resource_unavailable_try_again),
                            "troupe: a recursive_mutex is locked too many times"};
  }
  lock.depth.store(depth + 1, std::memory_order_relaxed);
}

void throw_not_locked(const char* what) {
  throw std::system_error{std::make_error_code(std::errc::operation_not_permitted), what};
}

void throw_locked_already(const char* what) {
  throw std::system_error{std::make_error_code(std::errc::resource_deadlock_would_occur), what};
}

bool lock_handle::inherited() const {
  if (region* const there = elsewhere()) [[unlikely]] {
    return call_remote<bool>(*there, remote_op::inherited);
  }
  return object_->lock().inherited.load(std::memory_order_relaxed) != 0;
}

void lock_handle::recovered() {
  if (region* const there = elsewhere()) [[unlikely]] {
    return call_remote(*there, remote_op::recovered);
  }
  object_->lock().inherited.store(0, std::memory_order_relaxed);
}

void lock_handle::unlock() {
  if (region* const there = elsewhere()) [[unlikely]] {
    return call_remote(*there, remote_op::unlock);
  }
  lock_state& lock = object_->lock();
  if (!owned_by_caller_fast(lock)) [[unlikely]] {
    throw_not_locked("troupe: unlock() of a mutex that this thread has not locked");
  }
  if (const std::uint32_t depth = lock.depth.load(std::memory_order_relaxed); depth != 0) {
    lock.depth.store(depth - 1, std::memory_order_relaxed);
    return;
  }
  release_owned(lock);
}

bool lock_handle::lock_until(const deadline& until, bool recursive) {
  if (region* const there = elsewhere()) [[unlikely]] {
    return call_remote<bool>(*there, remote_op::lock_for, time_left(until));
  }
  region& object = *object_;
  const lock_result result = acquire_object(object, until);
  if (result == lock_result::own) {
    if (!recursive) {
      return false;
    }
    lock_again(object.lock());
  }
  return result != lock_result::busy;
}

}  // namespace detail

mutex::mutex() : lock_handle{detail::region::create_default({.rules = &detail::mutex_rules})} {}

mutex::mutex(const object_options& options)
    : lock_handle{detail::region::create({.rules = &detail::mutex_rules, .name = options.name})} {}

void mutex::lock() {
  if (detail::region* const there = elsewhere()) [[unlikely]] {
    return detail::call_remote(*there, detail::remote_op::lock);
  }
  if (detail::try_acquire_fast(object_->lock()) <= detail::lock_result::inherited) [[likely]] {
    return;
  }
  if (!lock_until(std::nullopt, false)) {
    detail::throw_locked_already("troupe: lock() of a mutex that this thread has locked already");
  }
}

bool mutex::try_lock() {
  if (detail::region* const there = elsewhere()) [[unlikely]] {
    return detail::call_remote<bool>(*there, detail::remote_op::try_lock);
  }
  return detail::try_acquire_fast(object_->lock()) <= detail::lock_result::inherited;
}

bool mutex::try_lock_within(const detail::deadline& until) {
  if (elsewhere() == nullptr && detail::owned_by_caller(object_->lock()) && !until) {
    detail::throw_locked_already("troupe: waiting without end for a mutex of this thread's own");
  }
  if (lock_until(until, false)) {
    return true;
  }
  return false;
}

void mutex::load(input_archive& ar) {
  load_handle(ar, detail::mutex_rules);
}

recursive_mutex::recursive_mutex()
    : lock_handle{detail::region::create_default({.rules = &detail::recursive_rules})} {}

recursive_mutex::recursive_mutex(const object_options& options)
    : lock_handle{
          detail::region::create({.rules = &detail::recursive_rules, .name = options.name})} {}

void recursive_mutex::lock() {
  if (detail::region* const there = elsewhere()) [[unlikely]] {
    return detail::call_remote(*there, detail::remote_op::lock);
  }
  static_cast<void>(lock_until(std::nullopt, true));
}

bool recursive_mutex::try_lock() {
  if (detail::region* const there = elsewhere()) [[unlikely]] {
    return detail::call_remote<bool>(*there, detail::remote_op::try_lock);
  }
  return lock_until(std::chrono::steady_clock::now(), true);
}

bool recursive_mutex::try_lock_within(const detail::deadline& until) {
  return lock_until(until, true);
}

void recursive_mutex::load(input_archive& ar) {
  load_handle(ar, detail::recursive_rules);
}

}  // namespace troupe
