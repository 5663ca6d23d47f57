// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"
#include "troupe/detail/thread_safety.hpp"
#include "troupe/error.hpp"
#include "troupe/progress.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace troupe::detail {

class awaited_looks;
class future_state;

/// Is called at the end of a state, on the thread that fulfils it: must neither block nor throw.
class completion_listener {
 public:
  virtual ~completion_listener();
  virtual void completed(future_state& state) noexcept = 0;
  /// The state has got other sources.
  virtual void got_sources(future_state& /*state*/) noexcept {}
};

/// What a thread does while it waits for a future, instead of sleeping: a worker of a thread pool
/// runs what it waits for.
class wait_helper {
 public:
  wait_helper() noexcept;
  wait_helper(const wait_helper&) = delete;
  wait_helper& operator=(const wait_helper&) = delete;
  virtual ~wait_helper() = default;
  /// That of no other, also of none that is gone.
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  /// Returns when `awaited` is done, or the deadline has passed: false. May throw instead of
  /// waiting for ever.
  virtual bool wait_for(const future_state& awaited, const deadline& until) = 0;

  /// The one of the calling thread, if it has one.
  static wait_helper*& of_this_thread() noexcept;

 private:
  const std::uint64_t number_;
};

/// What a future and the code that fulfils it share: no types, bytes only. Fulfilled exactly once.
class future_state : public std::enable_shared_from_this<future_state> {
 public:
  using callback = std::function<void(future_state&)>;
  /// Runs callbacks one after the other, never on the thread that fulfils. Called with an empty
  /// function it only starts its thread, so that no later call can fail for want of one.
  using executor = std::function<void(std::function<void()>)>;

  future_state();
  future_state(const future_state&) = delete;
  future_state& operator=(const future_state&) = delete;
  virtual ~future_state();

  /// A forked child has copies of the futures of its parent, but the outcomes come to the parent
  /// only.
  ///
  /// @throws error{wrong_state} if this is such a copy, without an outcome.
  void check_comes_here() const;
  [[nodiscard]] bool done() const noexcept {
    return word_.load(std::memory_order_acquire) >= fulfilled;  // partner: fulfil
  }
  /// Waits until it is done. False: the deadline passed first.
  ///
  /// @blocks until then.
  /// @throws what the thread's wait_helper throws; error{wrong_state} as `check_comes_here`.
  bool wait(const deadline& until) const;
  /// Waits until it is done, and until the callbacks that were added before have returned; on a
  /// thread of the library, where such a callback may run, or wait for that thread, only for the
  /// former.
  ///
  /// @blocks until then.
  /// @throws as wait.
  void wait_with_callbacks() const;
  /// Null: there is a value. Only when done.
  [[nodiscard]] const std::shared_ptr<const failure>& failed() const {
    if (word_.load(std::memory_order_relaxed) == undescribed) {
      describe_once();
    }
    return failure_;
  }
  /// Does nothing if there is a value.
  ///
  /// @throws the failure: the original exception, or a fresh one made of it.
  void rethrow_failure() const;
  /// What `rethrow_failure` throws, null if it would not. Only when done.
  [[nodiscard]] std::exception_ptr exception() const;

  /// The encoded values, in order: one for a call, one an item for a map. Only when done.
  virtual void each_value(const std::function<void(std::span<const std::byte>)>& visit) const = 0;
  /// True: it will never run. False: it already ended, or runs and was asked to stop; with `force`
  /// its worker is killed after the grace time.
  virtual bool cancel(bool force) = 0;
  [[nodiscard]] virtual bool running() const = 0;

  // What a thread that waits for it has to know.
  using source_visitor = std::function<bool(const std::shared_ptr<future_state>&)>;
  /// Calls `visit` for what has to end before it does, until that returns true, and returns the
  /// last answer.
  virtual bool any_source(const source_visitor& /*visit*/) const { return false; }
  /// The first of its sources that ends ends it, not the last one.
  [[nodiscard]] virtual bool ends_with_first_source() const noexcept { return false; }
  /// Its end may need any task of the waiting worker's pool: what it waits for is not known.
  [[nodiscard]] virtual bool needs_other_tasks() const noexcept { return false; }
  /// Of a state that stands for several futures, one after the other: at which of its sources the
  /// thread that waits for it still has to look. Null: at all of them.
  [[nodiscard]] virtual awaited_looks* looks() const { return nullptr; }
  /// The calling thread is about to wait for it and cannot run it, but others may wait for that
  /// thread: its pool runs it also if all of its workers wait.
  virtual void need() const {}

  /// Called once, through the state's executor, when done or at once if it is; those that are added
  /// one after the other are called in that order.
  ///
  /// @throws error{wrong_state} as wait; error{resource_exhausted} if no thread can be
  ///   started for it.
  void when_done(callback function) { follow(std::move(function), false); }
  /// The same for a function of the user, for which `wait_with_callbacks` waits.
  void add_callback(callback function) { follow(std::move(function), true); }
  /// Where its callbacks run.
  [[nodiscard]] executor callback_executor() const { return callbacks(); }
  /// True: `listener` is called at the end, once. False: the state is done already.
  ///
  /// @throws error{wrong_state} as wait.
  bool listen(std::shared_ptr<completion_listener> listener);
  /// `listener` is not called any more; a call of it that has begun may still be running.
  void unlisten(const completion_listener* listener) noexcept;

  /// Counts of the one task; those of a map in the class that has several.
  [[nodiscard]] virtual task_counts counts() const;

  using progress_callback = std::function<void(const task_progress&)>;
  /// The newest report, if there was one.
  [[nodiscard]] std::optional<task_progress> progress() const;
  /// Called for every later report, through the state's executor, where it is also destroyed.
  ///
  /// @throws error{resource_exhausted} as when_done.
  void on_progress(progress_callback function);
  /// Notes a report and calls the callbacks for it; for the fulfilling side.
  void report(task_progress now);

  /// The same on the thread that fulfils (at once if that is over): for wake-ups, never for users'
  /// functions. It must not throw, and must not wait.
  void observe(callback function) const;

 protected:
  /// The exception itself, of a task that ran in this process. Only when done, if there is a
  /// failure.
  [[nodiscard]] virtual std::exception_ptr original() const { return nullptr; }
  /// Called before a thread goes to sleep: looks for a moment whether the outcome comes, where that
  /// is worth it. True: it is there.
  [[nodiscard]] virtual bool spin_for_outcome() const { return false; }
  /// Where callbacks run; the fulfilling side sets it before the state is shared.
  [[nodiscard]] virtual executor callbacks() const = 0;
  /// It has got other sources: its listeners are told.
  void tell_sources() noexcept;
  /// Fulfils. The caller has stored the values already, and makes sure it happens once.
  void finish(std::shared_ptr<const failure> failed) noexcept;
  /// The same with a failure that `describe` makes when a caller asks for it first. Of a hundred
  /// thousand cancelled tasks most failures are never asked for.
  void finish_undescribed() noexcept;
  /// The failure of a state that was finished undescribed. By any thread, once.
  [[nodiscard]] virtual std::shared_ptr<const failure> describe() const;

 private:
  static constexpr std::uint32_t pending = 0;
  static constexpr std::uint32_t awaited = 1;  // pending, and a thread sleeps on the word
  static constexpr std::uint32_t fulfilled = 2;
  static constexpr std::uint32_t undescribed = 3;  // fulfilled, with a failure still to be made

  struct follower {
    callback function;
    bool is_awaited = false;  ///< counted in `callbacks_left_`
  };
  class ended_call;

  void follow(callback function, bool is_awaited);
  /// @throws pool_closed if the thread for callbacks has ended.
  void run(follower what);
  /// As run; what is refused is logged.
  void hand_over(follower what) noexcept;
  void callback_returned() const noexcept;
  /// @throws error{resource_exhausted}.
  void prepare_callbacks() const;
  /// False: this thread cannot be woken that way, and there may be no outcome yet.
  bool wait_for_handover() const;
  void describe_once() const;
  [[nodiscard]] bool is_inherited() const noexcept;
  void fulfil(std::uint32_t how) noexcept;

  mutable std::atomic<std::uint32_t> word_{pending};
  /// The handover of the first thread that waits without a deadline; see `wait`.
  mutable std::atomic<int> waiter_{no_waiter};
  static constexpr int no_waiter = -1;
  static constexpr int too_late = -2;
  /// Callbacks that have not returned; with `some_wait` if a thread
  /// sleeps on the word.
  mutable std::atomic<std::uint32_t> callbacks_left_{0};
  static constexpr std::uint32_t some_wait = std::uint32_t{1} << 31;
  std::uint32_t process_;  ///< the `fork_generation` of the process that fulfils it
  /// Written before the state is fulfilled; by `describe_once` under mutex_ if undescribed.
  mutable std::shared_ptr<const failure> failure_;
  /// Most futures have none of these, only a thread that waits. While `fulfil` hands them over, what
  /// is added gets in line there.
  struct followers {
    std::vector<follower> callbacks;
    std::vector<std::shared_ptr<completion_listener>> listeners;
    std::vector<std::shared_ptr<progress_callback>> progress_callbacks;
  };
  followers& list_of_followers() TROUPE_REQUIRES(mutex_) {
    if (!followers_) {
      followers_ = std::make_unique<followers>();
    }
    return *followers_;
  }
  mutable guarded_mutex mutex_;
  std::unique_ptr<task_progress> progress_ TROUPE_GUARDED_BY(mutex_);
  std::unique_ptr<followers> followers_ TROUPE_GUARDED_BY(mutex_);
};

/// Throws for the members of a future that belongs to no task.
///
/// @throws error{no_state}.
[[noreturn]] void throw_no_state();
/// A throwing callback is reported, never fatal.
void report_callback(const std::exception_ptr& thrown) noexcept;
/// Says that a result could not be decoded, because of `thrown`.
///
/// @throws error{resource_exhausted} if what it lacked was memory or descriptors;
///   error{result_decode_failed}.
[[noreturn]] void throw_result_decode(const std::exception_ptr& thrown);

}  // namespace troupe::detail
