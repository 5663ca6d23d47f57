// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/mutex.hpp"

#include "shared/core/kind_rules.hpp"
#include "shared/core/object_lock.hpp"
#include "shared/core/robust_lock_fast.hpp"
#include "shared/sync/mutex_operations.hpp"

#include <atomic>
#include <cstdint>
#include <optional>

namespace troupe {
namespace detail {

namespace {

class local_mutex final : public mutex_operations {
 public:
  explicit constexpr local_mutex(bool is_recursive) noexcept : is_recursive_{is_recursive} {}

  void lock(region& object) const override {
    if (!take(object.lock(), acquire_object(object, std::nullopt))) {
      throw_locked_already("troupe: lock() of a mutex that this thread has locked already");
    }
  }
  bool try_lock(region& object) const override {
    return take(object.lock(), try_acquire_fast(object.lock()));
  }
  bool lock_until(region& object, const deadline& until) const override {
    if (!is_recursive_ && !until && owned_by_caller_fast(object.lock())) {
      throw_locked_already("troupe: waiting without end for a mutex of this thread's own");
    }
    return take(object.lock(), acquire_object(object, until));
  }
  void unlock(region& object) const override {
    lock_state& lock = object.lock();
    if (!owned_by_caller_fast(lock)) {
      throw_not_locked("troupe: unlock() of a mutex that this thread has not locked");
    }
    if (const std::uint32_t depth = lock.depth.load(std::memory_order_relaxed); depth != 0) {
      lock.depth.store(depth - 1, std::memory_order_relaxed);
      return;
    }
    release_owned(lock);
  }
  bool inherited(region& object) const override {
    return object.lock().inherited.load(std::memory_order_relaxed) != 0;
  }
  void recovered(region& object) const override {
    object.lock().inherited.store(0, std::memory_order_relaxed);
  }

 private:
  /// Whether the lock is the caller's after `found`, by one more level of a recursive one.
  bool take(lock_state& lock, lock_result found) const {
    if (found == lock_result::own && is_recursive_) {
      lock_again(lock);
      return true;
    }
    return found <= lock_result::inherited;
  }

  bool is_recursive_;
};

template <bool IsRecursive>
const object_operations& local_operations() noexcept {
  static constexpr local_mutex one{IsRecursive};
  return one;
}

}  // namespace

constexpr object_rules mutex_rules{.kind = object_kind::mutex, .local = &local_operations<false>};
constexpr object_rules recursive_rules{.kind = object_kind::recursive_mutex,
                                       .local = &local_operations<true>};

bool lock_handle::inherited() const {
  return operations<mutex_operations>().inherited(object());
}

void lock_handle::recovered() const {
  operations<mutex_operations>().recovered(object());
}

void lock_handle::lock_any() const {
  region* const here = mapped();
  if (here == nullptr || try_acquire_fast(here->lock()) > lock_result::inherited) [[unlikely]] {
    operations<mutex_operations>().lock(object());
  }
}

bool lock_handle::try_lock_any() const {
  region* const here = mapped();
  if (here != nullptr && try_acquire_fast(here->lock()) <= lock_result::inherited) [[likely]] {
    return true;
  }
  return operations<mutex_operations>().try_lock(object());
}

bool lock_handle::lock_until(const deadline& until) const {
  return operations<mutex_operations>().lock_until(object(), until);
}

void lock_handle::unlock() const {
  if (region* const here = mapped()) [[likely]] {
    lock_state& lock = here->lock();
    if (owned_by_caller_fast(lock) && lock.depth.load(std::memory_order_relaxed) == 0) [[likely]] {
      release_owned(lock);
      return;
    }
  }
  operations<mutex_operations>().unlock(object());
}

}  // namespace detail

mutex::mutex() : lock_handle{detail::region::create_default({.rules = &detail::mutex_rules})} {}

mutex::mutex(const object_options& options)
    : lock_handle{detail::region::create({.rules = &detail::mutex_rules, .name = options.name})} {}

void mutex::lock() const {
  lock_any();
}

bool mutex::try_lock() const {
  return try_lock_any();
}

bool mutex::try_lock_within(const detail::deadline& until) const {
  return lock_until(until);
}

void mutex::load(input_archive& ar) {
  load_handle(ar, detail::mutex_rules);
}

recursive_mutex::recursive_mutex()
    : lock_handle{detail::region::create_default({.rules = &detail::recursive_rules})} {}

recursive_mutex::recursive_mutex(const object_options& options)
    : lock_handle{
          detail::region::create({.rules = &detail::recursive_rules, .name = options.name})} {}

void recursive_mutex::lock() const {
  lock_any();
}

bool recursive_mutex::try_lock() const {
  return try_lock_any();
}

bool recursive_mutex::try_lock_within(const detail::deadline& until) const {
  return lock_until(until);
}

void recursive_mutex::load(input_archive& ar) {
  load_handle(ar, detail::recursive_rules);
}

}  // namespace troupe
