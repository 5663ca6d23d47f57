// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/detail/clock.hpp"
#include "troupe/pool_options.hpp"
#include "troupe/start_method.hpp"
#include "troupe/strategy.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace troupe {

struct thread_pool_options;  // troupe/thread_pool.hpp

/// Where the children of a supervisor run.
enum class placement : std::uint8_t {
  /// As the supervisor above says; at the top in processes, but with the environment variable
  /// TROUPE_INLINE=1 in this one.
  inherited,
  /// In processes of their own.
  processes,
  /// On threads of this process, for tests, debuggers, and thousands of small services. A service
  /// that is a coroutine (`troupe::task<void>`) shares a few threads with the others. Nothing kills a
  /// thread, and a crash, `exit` or a signal is the whole program's: docs/supervision.md tells what
  /// differs.
  in_process
};

/// What every child of a supervisor has: `child_pool("resize", {.workers = 4}, {.after = {"db"}})`.
struct child_options {
  /// Whether it is started again when it has ended.
  troupe::restart restart = troupe::restart::permanent;
  /// Siblings that have to be ready before it begins.
  std::vector<std::string> after{};
  /// From being asked to stop to being killed; `brutal_kill` does not ask, `no_limit` never kills.
  /// Unset: 5 seconds, for a supervisor no limit.
  std::optional<std::chrono::milliseconds> shutdown{};
  /// For it to be ready. Unset: 60 seconds, for a supervisor no limit.
  std::optional<std::chrono::milliseconds> start_timeout{};
  /// See `auto_shutdown`.
  bool significant = false;
  /// Exit codes of a process that are no failure.
  std::vector<int> success_codes{0};
  /// How a process is started. Unset: what `get_start_method` says at its start.
  std::optional<start_method> start{};
  /// Where it runs. Says nothing to thread pools. A pool has its workers in processes, wherever its
  /// supervisor places children, and refuses `in_process`. For a supervisor, say it in its own
  /// options.
  troupe::placement placement = troupe::placement::inherited;
};

/// When a service counts as ready.
enum class readiness : std::uint8_t {
  told,      ///< when its function calls `this_service::ready`
  at_start,  ///< when its process has begun
};

/// What a service has: `child_service("feed", feed_loop, {.after = {"hits"}, .watchdog = 5s})`. The
/// first members are those of `child_options`.
struct service_options {
  /// Whether it is started again when it has ended.
  troupe::restart restart = troupe::restart::permanent;
  /// Siblings that have to be ready before it begins.
  std::vector<std::string> after{};
  /// From its stop token being set to being killed, as in `child_options`.
  std::optional<std::chrono::milliseconds> shutdown{};
  /// For it to be ready.
  std::optional<std::chrono::milliseconds> start_timeout{};
  /// See `auto_shutdown`.
  bool significant = false;
  /// Exit codes that are no failure.
  std::vector<int> success_codes{0};
  /// How its process is started. Unset: what `get_start_method` says at its start.
  std::optional<start_method> start{};
  /// When it counts as ready. With `every` it always does at once.
  readiness ready = readiness::told;
  /// It is ended (SIGABRT, for a backtrace, then SIGKILL) when it has not called
  /// `this_service::heartbeat` for so long. Begins when it is ready, and stands still while the
  /// whole program is stopped. Unset: no watchdog.
  std::optional<std::chrono::milliseconds> watchdog{};
  /// The function is called again and again in one process, so long after its last call returned.
  /// Calls that were missed are not made up for. Unset: it is called once.
  std::optional<std::chrono::milliseconds> every{};
  /// A function that throws if the service does not work. It runs in the service's process, on a
  /// thread of its own, every `probe_interval` from the time that the service is ready on; one that
  /// throws, or does not return within `probe_timeout`, ends the service.
  bound_call probe{};
  /// See `probe`.
  std::chrono::milliseconds probe_interval{10'000};
  /// See `probe`.
  std::chrono::milliseconds probe_timeout{5'000};
  /// Where it runs.
  troupe::placement placement = troupe::placement::inherited;
};

class child_spec;
class supervisor;

namespace detail {
struct child_definition;
struct child_spec_access;
}  // namespace detail

/// A child for `supervisor::add`, of whatever kind; made by the functions `child_...`.
///
/// A value: it may be added to several supervisors, but one that has a supervisor in it only once.
///
/// @threads as a value.
/// @crosses no.
class child_spec {
 public:
  /// Its name, unique among its siblings.
  [[nodiscard]] const std::string& name() const noexcept;
  /// "process", "service", "pool", "thread pool" or "supervisor".
  [[nodiscard]] const std::string& kind() const noexcept;

 private:
  friend struct detail::child_spec_access;
  explicit child_spec(std::shared_ptr<const detail::child_definition> made)
      : made_{std::move(made)} {}
  std::shared_ptr<const detail::child_definition> made_;
};

/// A function that runs in a process of its own, as with `process`: `child_process("mail", send)`,
/// `child_process("mail", troupe::call(send, queue))`. It is ready when its process has begun.
///
/// It is stopped by SIGTERM, which ends it unless the function has a handler of its own.
///
/// @crosses the function and its arguments by value.
/// @throws what encoding throws.
[[nodiscard]] child_spec child_process(std::string name, bound_call function,
                                       const child_options& options = {});

/// A long-running function in a process of its own, which says when it is ready (`this_service`)
/// and returns soon when its stop token is set: `child_service("feed", feed_loop)`.
///
/// SIGTERM sets that token, if it comes from this program, its fork server or the process itself;
/// SIGINT does nothing there. A job that is to run once is `.restart = restart::transient`, and has
/// started, for those that come after it, when it has ended with success.
///
/// @crosses the function and its arguments by value.
/// @worker_dies its supervisor starts it again, as `restart` says.
/// @throws what encoding throws.
[[nodiscard]] child_spec child_service(std::string name, bound_call function,
                                       const service_options& options = {});

/// A pool of worker processes, which `supervisor::pool` finds. Ready when its workers are.
///
/// It is stopped by `close`: what was submitted is finished, within `shutdown`. A pool that is
/// broken has ended with `end_cause::gave_up`.
///
/// @throws std::invalid_argument for `placement::in_process`.
[[nodiscard]] child_spec child_pool(std::string name, const pool_options& pool,
                                    const child_options& options = {});

/// A pool of threads, which `supervisor::thread_pool` finds. Ready when its initializers are done.
///
/// It is stopped by `close`. Threads cannot be killed: after `shutdown` its tasks are asked to stop,
/// and the supervisor waits for those that run.
[[nodiscard]] child_spec child_thread_pool(std::string name, const thread_pool_options& pool,
                                           const child_options& options = {});

/// A supervisor with children of its own: ready when they are, stopped by stopping them. The handle
/// goes on working, but starts and stops nothing by itself any more.
///
/// Children that were added to it while it ran are not there when it is started again.
///
/// @throws error{wrong_state} if it was started, or is a child already.
[[nodiscard]] child_spec child_supervisor(std::string name, const supervisor& below,
                                          const child_options& options = {});

}  // namespace troupe
