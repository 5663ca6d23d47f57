// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/policy.hpp"

#include "base/thread_safety.hpp"
#include "trees/children/pause_meter.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::detail {

class child_engine;
struct child_definition;
struct child_run;
class service_threads;

/// Where a tree of supervisors lives: runs functions one after the other, and at times. Tests have
/// one with a clock of their own.
///
/// @threads any, all members.
class tree_loop {
 public:
  tree_loop();
  tree_loop(const tree_loop&) = delete;
  tree_loop& operator=(const tree_loop&) = delete;
  virtual ~tree_loop();

  /// Runs `function` soon, after what was posted before. False: the loop has ended; it is dropped.
  virtual bool post(std::function<void()> function) = 0;
  /// The program's time: it stands still while the program is stopped.
  [[nodiscard]] virtual steady_time now() const = 0;
  /// Runs `function` then or soon after; returns the timer's number.
  virtual std::uint64_t call_at(steady_time when, std::function<void()> function) = 0;
  virtual void cancel(std::uint64_t timer) = 0;
  /// The calling thread is the one that runs the functions.
  [[nodiscard]] virtual bool is_here() const = 0;

  /// Of what is drawn by lot in the tree.
  [[nodiscard]] virtual std::uint64_t seed();
  /// Runs what comes until that is so, where the calling thread is the one that has to. False: it is
  /// not.
  virtual bool drive(const std::function<bool()>& /*over*/) { return false; }
  /// What takes the place of a child's engine; null: nothing does.
  virtual std::shared_ptr<child_engine> stand_in(const child_run& /*how*/,
                                                 const child_definition& /*of*/) {
    return nullptr;
  }
  /// The threads of children in this process. On the loop's thread.
  [[nodiscard]] service_threads& services();

 protected:
  [[nodiscard]] virtual std::unique_ptr<service_threads> make_services();
  /// Ends them. On the loop's thread.
  void end_services() noexcept;

 private:
  std::unique_ptr<service_threads> services_;
};

/// A thread of its own, which sleeps while there is nothing to do.
class tree_thread final : public tree_loop, public std::enable_shared_from_this<tree_thread> {
 public:
  /// Starts the thread, which has a share in the object.
  ///
  /// @throws std::system_error where no thread can be started.
  static std::shared_ptr<tree_thread> start();
  ~tree_thread() override;

  bool post(std::function<void()> function) override;
  [[nodiscard]] steady_time now() const override;
  std::uint64_t call_at(steady_time when, std::function<void()> function) override;
  void cancel(std::uint64_t timer) override;
  [[nodiscard]] bool is_here() const override;
  /// Runs what was posted, drops the timers, and ends the thread.
  ///
  /// @blocks until the thread has ended, unless it is the calling one.
  void end();

 private:
  tree_thread() = default;
  void run();

  mutable guarded_mutex mutex_;
  guarded_condition changed_;
  pause_meter pauses_ TROUPE_GUARDED_BY(mutex_);
  std::vector<std::function<void()>> posted_ TROUPE_GUARDED_BY(mutex_);
  std::map<std::pair<steady_time, std::uint64_t>, std::function<void()>> timers_
      TROUPE_GUARDED_BY(mutex_);
  std::map<std::uint64_t, steady_time> timer_times_ TROUPE_GUARDED_BY(mutex_);
  std::uint64_t last_timer_ TROUPE_GUARDED_BY(mutex_) = 0;
  bool ending_ TROUPE_GUARDED_BY(mutex_) = false;
  bool ended_ TROUPE_GUARDED_BY(mutex_) = false;
  std::thread::id thread_ TROUPE_GUARDED_BY(mutex_);
};

}  // namespace troupe::detail
