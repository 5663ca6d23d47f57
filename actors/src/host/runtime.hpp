// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/thread_safety.hpp"
#include "caf/caf.hpp"
#include "channel/segment.hpp"
#include "futures/callback_runner.hpp"
#include "host/process_observer.hpp"
#include "host/program_tree.hpp"
#include "host/worker_host.hpp"
#include "os/reactor.hpp"
#include "process/launcher.hpp"
#include "process/oom_watch.hpp"
#include "process/stderr_relay.hpp"
#include "process/stop_signals.hpp"
#include "shared/core/name_cleaner.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

namespace troupe::detail {

class engine;

/// Owns what all pools of a process need: the launcher, the reactor, the actor system. Ends all
/// engines and processes that it knows when it shuts down.
///
///   system ──▶ runtime ──▶ launcher (fork server), reactor (one thread), caf::actor_system
///                  ▲
///   pool ──────────┘ through runtime::current()
class runtime final : public pool_host {
 public:
  explicit runtime(program self);
  ~runtime() override;
  runtime(const runtime&) = delete;
  runtime& operator=(const runtime&) = delete;

  /// The runtime of this process. In a worker the first call makes it.
  ///
  /// @throws not_bootstrapped, with the line to add.
  static std::shared_ptr<runtime> current();
  /// Makes the runtime of this process; throws error{already_bootstrapped} if there is one.
  static std::shared_ptr<runtime> start(program self);
  /// In a worker: forgets a parent's runtime (which is left alone, it belongs to threads that do
  /// not exist here), and remembers what a later pool needs.
  static void enter_worker(const program& self);
  /// Ends all pools, then all processes and threads; later use throws pool_closed or
  /// not_bootstrapped. Not on the reactor's thread.
  void shut_down() noexcept;
  /// Its end, and that of what stands on it, may be waited for here. False in a child that was
  /// forked from its process, where its threads do not exist, and on its reactor's own thread.
  [[nodiscard]] bool can_wait() const noexcept override;

  /// While it lives, `shut_down` waits before it ends anything: an engine is made that is not added
  /// yet.
  ///
  /// @throws pool_closed if `shut_down` has begun.
  class making {
   public:
    explicit making(runtime& in);
    ~making();
    making(const making&) = delete;
    making& operator=(const making&) = delete;

   private:
    runtime& in_;
  };

  [[nodiscard]] caf::actor_system& actors() noexcept override { return *actors_; }
  /// `shut_down` waits until they have ended.
  [[nodiscard]] const std::shared_ptr<callback_threads>& callbacks() const noexcept override {
    return callbacks_;
  }
  [[nodiscard]] launcher& processes() noexcept { return *launcher_; }
  [[nodiscard]] reactor& loop() noexcept { return *reactor_; }
  [[nodiscard]] stderr_relay& errors() noexcept { return *errors_; }
  [[nodiscard]] const std::shared_ptr<segment_pool>& segments() const noexcept override {
    return segments_;
  }

  std::uint64_t enroll(const std::shared_ptr<process_observer>& link) override;
  void dismiss(std::uint64_t worker) override;
  void watch(int socket, std::function<void()> ready) override;
  void unwatch(int socket) override;
  void launch(start_order what) override;
  void signal(std::uint64_t worker, int number) override;
  [[nodiscard]] steady_time now() const override { return std::chrono::steady_clock::now(); }
  void call_at(steady_time when, std::function<void()> function) override;
  [[nodiscard]] const std::string& host_name() const override { return host_; }
  [[nodiscard]] std::uint64_t resident_bytes(std::int64_t pid) const override;
  void add(const std::shared_ptr<engine>& pool);
  /// A tree of supervisors ends this pool, so that signals to stop and `shut_down` leave it alone.
  void leave_to_tree(const engine& pool);
  /// `shut_down` ends it before all pools and processes.
  void add(const std::shared_ptr<program_tree>& tree);
  void remove(const program_tree* tree);
  /// Sets the token of `stop_token`.
  void request_stop() { stopping_.request_stop(); }
  /// See system::stop_on_signals.
  void stop_on_signals();
  [[nodiscard]] std::stop_token stop_token() const { return stopping_.get_token(); }
  [[nodiscard]] int stop_signal() const noexcept { return stop_signal_; }
  /// Processes, between their start and their end: they go on without their handles.
  using running_processes = std::vector<std::shared_ptr<running_process>>;
  /// `end_all` ends those that are left with the program: daemons at once, others within the limit.
  void add(const std::shared_ptr<running_process>& started,
           void (*end_all)(const running_processes&, std::chrono::milliseconds limit) noexcept);
  void remove(const running_process* ended);
  [[nodiscard]] running_processes running();
  /// How long `shut_down` waits for processes that are no daemons.
  void limit_join(std::chrono::milliseconds limit) { join_limit_ = limit; }
  /// How many pools' tasks this process is inside of: 0 in the program itself.
  static std::uint64_t depth() noexcept;
  static void set_depth(std::uint64_t depth) noexcept;
  /// Ends the runtime of this process, if there is one.
  static void end_current() noexcept;
  void pool_ended() override;

 private:
  std::shared_ptr<process_observer> owner_of(std::uint64_t worker);
  void on_stop_signal(int signal, int count);
  std::vector<std::shared_ptr<engine>> live_pools();
  std::vector<std::shared_ptr<program_tree>> live_trees();
  void worker_exited(const exit_report& report);

  const std::int64_t process_;
  // The first of these: its fork server is forked before there are threads.
  std::unique_ptr<launcher> launcher_;
  std::shared_ptr<segment_pool> segments_;
  std::unique_ptr<caf::actor_system_config> config_;
  std::unique_ptr<caf::actor_system> actors_;
  const std::shared_ptr<callback_threads> callbacks_ = std::make_shared<callback_threads>();
  /// Functions of the user that are due on the reactor.
  const std::shared_ptr<callback_runner> errands_ = std::make_shared<callback_runner>(callbacks_);
  std::unique_ptr<stderr_relay> errors_;  // before the reactor, whose thread uses it
  oom_watch oom_;                         // the reactor's thread's
  std::string host_;
  std::unique_ptr<reactor> reactor_;
  std::stop_source stopping_;
  std::atomic<int> stop_signal_{0};
  std::unique_ptr<stop_signals> signals_;
  using process_ender = void (*)(const running_processes&, std::chrono::milliseconds) noexcept;
  guarded_mutex mutex_;
  std::map<std::uint64_t, std::weak_ptr<process_observer>> workers_ TROUPE_GUARDED_BY(mutex_);
  running_processes running_ TROUPE_GUARDED_BY(mutex_);
  process_ender end_all_ TROUPE_GUARDED_BY(mutex_) = nullptr;
  std::vector<std::weak_ptr<engine>> pools_ TROUPE_GUARDED_BY(mutex_);
  std::vector<std::weak_ptr<program_tree>> trees_ TROUPE_GUARDED_BY(mutex_);
  int live_pools_ TROUPE_GUARDED_BY(mutex_) = 0;
  bool down_ TROUPE_GUARDED_BY(mutex_) = false;
  int making_ TROUPE_GUARDED_BY(mutex_) = 0;  // engines that are not in pools_ yet
  guarded_condition made_;
  std::chrono::milliseconds join_limit_{std::chrono::minutes{1}};
  std::unique_ptr<name_cleaner> names_;  // the reactor's thread's; ended after that
};

}  // namespace troupe::detail
