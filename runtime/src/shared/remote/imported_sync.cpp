// SPDX-License-Identifier: BSD-3-Clause

// Imported mutexes, semaphores, events, conditions and barriers.

#include "troupe/error.hpp"

#include "shared/remote/imported_object.hpp"
#include "shared/remote/imported_operations.hpp"
#include "shared/sync/barrier_operations.hpp"
#include "shared/sync/condition_operations.hpp"
#include "shared/sync/event_operations.hpp"
#include "shared/sync/mutex_operations.hpp"
#include "shared/sync/semaphore_operations.hpp"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>

namespace troupe::detail {
namespace {

class imported_mutex final : public mutex_operations {
 public:
  void lock(region& object) const override { call_remote(object, remote_op::lock); }
  bool try_lock(region& object) const override {
    return call_remote<bool>(object, remote_op::try_lock);
  }
  bool lock_until(region& object, const deadline& until) const override {
    return call_remote<bool>(object, remote_op::lock_for, time_left(until));
  }
  void unlock(region& object) const override { call_remote(object, remote_op::unlock); }
  bool inherited(region& object) const override {
    return call_remote<bool>(object, remote_op::inherited);
  }
  void recovered(region& object) const override { call_remote(object, remote_op::recovered); }
};

class imported_semaphore final : public semaphore_operations {
 public:
  bool acquire(region& object, const deadline& until) const override {
    return call_remote<bool>(object, remote_op::acquire, time_left(until));
  }
  void release(region& object, std::ptrdiff_t count) const override {
    call_remote(object, remote_op::release, static_cast<std::int64_t>(count));
  }
  std::ptrdiff_t value(region& object) const override {
    return static_cast<std::ptrdiff_t>(call_remote<std::int64_t>(object, remote_op::count));
  }
};

class imported_event final : public event_operations {
 public:
  void set(region& object) const override { call_remote(object, remote_op::set); }
  void clear(region& object) const override { call_remote(object, remote_op::clear); }
  bool is_set(region& object) const override {
    return call_remote<bool>(object, remote_op::is_set);
  }
  bool wait(region& object, const deadline& until) const override {
    return call_remote<bool>(object, remote_op::wait, time_left(until));
  }
};

class imported_condition final : public condition_operations {
 public:
  bool wait(region& object, region& mutex, const deadline& until) const override {
    if (!same_exporter(object, mutex)) {
      throw error{errc::not_on_this_machine, task_ran::no,
                  "troupe: a condition and the mutex it waits with must be of the same machine: "
                  "make both in one process, and pass them together"};
    }
    return call_remote<bool>(object, remote_op::wait_with, mutex.id(), time_left(until));
  }
  void notify(region& object, std::ptrdiff_t count) const override {
    call_remote(object, remote_op::notify, static_cast<std::int64_t>(count));
  }
  std::size_t waiting(region& object) const override {
    return call_remote<std::uint64_t>(object, remote_op::waiting);
  }
};

class imported_barrier final : public barrier_operations {
 public:
  std::size_t arrive(region& object, const deadline& until,
                     const std::function<void()>& action) const override;
  void abort(region& object) const override { call_remote(object, remote_op::abort); }
  void reset(region& object) const override { call_remote(object, remote_op::reset); }
  std::size_t parties(region& object) const override {
    return call_remote<std::uint64_t>(object, remote_op::parties);
  }
  std::size_t waiting(region& object) const override {
    return call_remote<std::uint64_t>(object, remote_op::waiting);
  }
  bool broken(region& object) const override {
    return call_remote<bool>(object, remote_op::broken);
  }
};

/// If this thread comes last, the exporter asks it to call the action, so that the action runs in
/// the thread that came last, wherever that is.
std::size_t imported_barrier::arrive(region& object, const deadline& until,
                                     const std::function<void()>& action) const {
  const bool has_action = static_cast<bool>(action);
  const remote_answer came = ask_remote(object, remote_op::arrive, time_left(until), has_action);
  if (!came.asks_to_act()) {
    return static_cast<std::size_t>(came.result<std::uint64_t>());
  }
  if (!has_action) {
    throw error{errc::protocol_error, task_ran::maybe,
                "troupe: the exporter of a barrier asks for an action that there is not"};
  }
  try {
    action();
  } catch (...) {
    try {
      call_remote(object, remote_op::acted, false);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
      // What the barrier says of it, or that its exporter is lost: the action's exception matters
      // more.
    }
    throw;
  }
  return static_cast<std::size_t>(call_remote<std::uint64_t>(object, remote_op::acted, true));
}

}  // namespace

const object_operations& imported_mutex_operations() noexcept {
  static constexpr imported_mutex one;
  return one;
}

const object_operations& imported_semaphore_operations() noexcept {
  static constexpr imported_semaphore one;
  return one;
}

const object_operations& imported_event_operations() noexcept {
  static constexpr imported_event one;
  return one;
}

const object_operations& imported_condition_operations() noexcept {
  static constexpr imported_condition one;
  return one;
}

const object_operations& imported_barrier_operations() noexcept {
  static constexpr imported_barrier one;
  return one;
}

}  // namespace troupe::detail
