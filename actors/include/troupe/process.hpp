// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/detail/clock.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/error.hpp"
#include "troupe/start_method.hpp"
#include "troupe/system.hpp"
#include "troupe/this_process.hpp"

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {

/// How a process is started: `troupe::process p{{.name = "greeter"}, hello, "bob"};`
struct process_options {
  /// Its name. Empty: "process-1", "process-2", … and "process-1:1" for the first child of that
  /// one.
  std::string name{};
  /// True: it is ended with the program that started it, instead of being waited for.
  bool daemon = false;
  /// How it is started. Unset: what `get_start_method` says at its start.
  std::optional<start_method> start{};
  /// Time between SIGTERM and SIGKILL, when the program ends before it.
  std::chrono::milliseconds grace{1000};
};

/// One process that was started here and has not ended.
struct process_info {
  std::int64_t pid = 0;  ///< the operating system's id of it
  std::string name;      ///< what `process_options::name` said, or the name it got
  bool daemon = false;   ///< it is ended with the program
};

namespace detail {
class process_core;
using process_ptr = std::shared_ptr<process_core>;
process_ptr make_process(process_options options, bound_call target);
void start_process(const process_ptr& process);
}  // namespace detail

/// A function that runs in a process of its own.
///
/// The function and its arguments cross by value, as for a task of a pool; handles of shared
/// objects among them refer to the same object there. What the function returns is dropped. In the
/// new process SIGINT and SIGTERM do what they do by default, stdin is empty, and stdout and stderr
/// are this program's.
///
/// How it ends: when the function returns, with exit code 0; when it throws, with 1 and the
/// exception on stderr; by exit(n) with n; by a signal. Functions that were registered there with
/// atexit run, what was printed is flushed, and processes that it started itself and that are no
/// daemons are waited for.
///
/// A process goes on when its handle is destroyed. At the end of `troupe::system` daemons are ended
/// by the ladder (SIGTERM, after `grace` SIGKILL), and then the others waited for
/// (`system_options`). When this program dies, of any cause, all of them die.
///
/// What the process wrote to shared objects and shared memory before it ended is visible after
/// `join`.
///
/// @follows multiprocessing.Process.
/// @blocks no member but `start`, `join`, `join_for` and `join_until`.
/// @threads any.
/// @crosses no; in a forked child of the process that made it, members that start, wait or signal
///   throw error{wrong_state}.
/// @worker_dies `exit_status()` tells how the process ended; it is not started again.
/// @throws error{no_state} from every member of a handle of nothing but operator bool.
class process {
 public:
  /// A handle of nothing.
  process() = default;
  /// Encodes `function` and `arguments` at once; nothing runs before `start`.
  ///
  /// @throws what encoding throws.
  template <class F, class... Args>
  explicit process(process_options options, const F& function, const Args&... arguments)
      : core_{detail::make_process(std::move(options), call(function, arguments...))} {}
  /// The same with the default options.
  ///
  /// @throws what encoding throws.
  template <class F, class... Args>
    requires(!std::same_as<F, process> && !std::same_as<F, process_options>)
  explicit process(const F& function, const Args&... arguments)
      : process{process_options{}, function, arguments...} {}

  /// Starts the process, once.
  ///
  /// @blocks until the process exists, not until it runs the function.
  /// @throws error{spawn_failed} or error{resource_exhausted}: it may be started again;
  ///   error{wrong_state} if it was started before; not_bootstrapped without a `troupe::system`;
  ///   pool_closed while that is ending.
  void start() { detail::start_process(core()); }

  /// Waits until it has ended.
  ///
  /// @blocks until then.
  /// @throws error{wrong_state} before the start, after close, or in another process than the one
  ///   that made it.
  void join() const { static_cast<void>(wait(std::nullopt)); }
  /// As join, for a limited time.
  ///
  /// @returns false: the time was over first.
  /// @blocks for at most `timeout`; a negative time only looks.
  /// @throws as join.
  template <class Rep, class Period>
  bool join_for(std::chrono::duration<Rep, Period> timeout) const {
    return wait(detail::deadline_after(timeout));
  }
  /// As join_for, until `when`.
  ///
  /// @returns false: the time was over first.
  /// @blocks until `when` at most.
  /// @throws as join.
  template <class Duration>
  bool join_until(std::chrono::time_point<std::chrono::steady_clock, Duration> when) const {
    return wait(std::chrono::time_point_cast<std::chrono::steady_clock::duration>(when));
  }

  /// It is a handle of a process, started or not.
  [[nodiscard]] explicit operator bool() const noexcept { return core_ != nullptr; }
  /// It was started and has not ended.
  ///
  /// @throws error{wrong_state} after close, or in another process than the one that made it.
  [[nodiscard]] bool is_alive() const;
  /// How it ended; nothing before that, and nothing if it is not known, because a thread of its
  /// parent had waited for any child and taken the status (`wait()`, or SIGCHLD ignored).
  [[nodiscard]] std::optional<troupe::exit_status> exit_status() const;
  /// The operating system's id of it; 0 before the start.
  [[nodiscard]] std::int64_t pid() const;
  /// Its name, as in the lists of processes and in its own `this_process::name()`.
  [[nodiscard]] const std::string& name() const;
  /// It is ended with the program, instead of being waited for.
  [[nodiscard]] bool is_daemon() const;
  /// A descriptor that is readable (for poll, epoll, `wait_readable`) once the process has ended: a
  /// pidfd, closed with the last handle. The exit status follows a moment later: join does not
  /// block for long then.
  ///
  /// @throws error{wrong_state} before the start and after close.
  [[nodiscard]] int sentinel() const;

  /// Sends SIGTERM to the process and what it started in its group; does nothing if it has ended.
  /// Does not wait.
  ///
  /// @throws error{wrong_state} before the start, after close, or in another process than the one
  ///   that made it.
  void terminate() const;
  /// As terminate, with SIGKILL.
  void kill() const;
  /// As terminate, with SIGINT: what Ctrl-C sends.
  void interrupt() const;
  /// Frees what the handle holds, for all copies of it; `exit_status` and `pid` stay.
  ///
  /// @throws error{wrong_state} while the process runs.
  void close();

 private:
  [[nodiscard]] const detail::process_ptr& core() const;
  bool wait(const detail::deadline& until) const;

  detail::process_ptr core_;
};

/// The processes that `process` and `process_base` started in this process and that have not ended.
/// Workers of pools are not among them: see `pool::workers`.
///
/// @threads any.
/// @throws not_bootstrapped without a `troupe::system`.
[[nodiscard]] std::vector<process_info> active_children();

/// A process as a class: what its `serialize` names crosses, and `run` is the new process.
///
/// @code
/// class counter : public troupe::process_base<counter> {
///  public:
///   counter() = default;  // public: the new process makes the object with it, and fills it
///   explicit counter(int n) : n_{n} {}
///   template <class Archive> void serialize(Archive& ar) { ar(n_); }
///   void run() override { … }
/// };
/// @endcode
///
/// The object is encoded by `start`. What `run` changes in its object stays there.
///
/// @follows subclassing multiprocessing.Process.
/// @threads any, but for copying and assigning.
/// @crosses by what `serialize` names; the copy there is no handle of a process.
/// @worker_dies as with process.
/// @throws as process; before `start` there is nothing to join or signal: error{no_state}.
template <class D>
class process_base {
 public:
  /// A process with the default options.
  process_base() = default;
  /// A process with these options.
  explicit process_base(process_options options) : options_{std::move(options)} {}
  /// The process goes on.
  virtual ~process_base() = default;

  /// What the new process does; it ends when this returns or throws.
  virtual void run() = 0;

  /// Encodes the object and starts the process, as process::start.
  ///
  /// @blocks until the process exists.
  /// @throws what encoding throws; as process::start.
  void start() {
    static_assert(
        std::is_default_constructible_v<D>,
        "troupe: a class derived from process_base needs a default constructor, with which "
        "the new process begins before `serialize` fills the object");
    if constexpr (std::is_default_constructible_v<D>) {
      if (!handle_) {
        handle_ = process{options_, &process_base::run_object, static_cast<const D&>(*this)};
      }
      handle_.start();
    }
  }
  /// As process::join.
  ///
  /// @blocks until the process has ended.
  void join() const { handle_.join(); }
  /// As process::join_for.
  ///
  /// @returns false: the time was over first.
  /// @blocks for at most `timeout`; a negative time only looks.
  template <class Rep, class Period>
  bool join_for(std::chrono::duration<Rep, Period> timeout) const {
    return handle_.join_for(timeout);
  }
  /// As process::is_alive; false before the start.
  [[nodiscard]] bool is_alive() const { return handle_ && handle_.is_alive(); }
  /// As process::exit_status; nothing before the start.
  [[nodiscard]] std::optional<troupe::exit_status> exit_status() const {
    return handle_ ? handle_.exit_status() : std::nullopt;
  }
  /// As process::pid; 0 before the start.
  [[nodiscard]] std::int64_t pid() const { return handle_ ? handle_.pid() : 0; }
  /// As process::name; before the start what the options say.
  [[nodiscard]] std::string name() const { return handle_ ? handle_.name() : options_.name; }
  /// As process::is_daemon.
  [[nodiscard]] bool is_daemon() const { return options_.daemon; }
  /// As process::sentinel.
  [[nodiscard]] int sentinel() const { return handle_.sentinel(); }
  /// As process::terminate.
  void terminate() const { handle_.terminate(); }
  /// As process::kill.
  void kill() const { handle_.kill(); }
  /// As process::interrupt.
  void interrupt() const { handle_.interrupt(); }
  /// As process::close.
  void close() { handle_.close(); }

 protected:
  /// @{
  /// A copy is a handle of the same process, once that was started.
  process_base(const process_base&) = default;
  process_base& operator=(const process_base&) = default;
  /// @}

 private:
  static void run_object(D object) { object.run(); }

  process_options options_;
  process handle_;
};

}  // namespace troupe
