// SPDX-License-Identifier: BSD-3-Clause
#include "shared/core/object_lock.hpp"

#include "troupe/error.hpp"

#include "shared/core/robust_lock_fast.hpp"

#include <limits>
#include <system_error>

namespace troupe::detail {
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

}  // namespace troupe::detail
