// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/error.hpp"
#include "troupe/start_method.hpp"
#include "troupe/this_process.hpp"

#include <chrono>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {

struct process_options {
  /// Empty: "process-1", "process-2", … and "process-1:1" for the first child of that one.
  std::string name{};
  /// Ended with the program that started it, instead of being waited for.
  bool daemon = false;
  /// Nothing: what `get_start_method` says when it is started.
  std::optional<start_method> start{};
  /// Between SIGTERM and SIGKILL, for a daemon when the program ends.
  std::chrono::milliseconds grace{1000};
};

/// One process that was started here and has not ended.
struct process_info {
  std::int64_t pid = 0;
  std::string name;
  bool daemon = false;
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
/// (`system_options`). When this program dies, by whatever, all of them die.
///
/// @follows multiprocessing.Process.
/// @threads any.
/// @crosses no.
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
  template <class F, class... Args>
    requires(!std::same_as<F, process> && !std::same_as<F, process_options>)
  explicit process(const F& function, const Args&... arguments)
      : process{process_options{}, function, arguments...} {}

  /// @blocks until the process exists, not until it runs the function.
  /// @throws error{spawn_failed} or error{resource_exhausted}; error{wrong_state} if it was started
  ///   before; not_bootstrapped without a `troupe::system`.
  void start() { detail::start_process(core()); }

  /// Waits until it has ended.
  ///
  /// @throws error{wrong_state} before the start, after close, or in another process than the one
  ///   that made it.
  void join() const { static_cast<void>(wait(std::nullopt)); }
  /// False: the time was over first. A negative time only looks.
  template <class Rep, class Period>
  bool join_for(std::chrono::duration<Rep, Period> timeout) const {
    return wait(detail::deadline_after(timeout));
  }
  template <class Duration>
  bool join_until(std::chrono::time_point<std::chrono::steady_clock, Duration> when) const {
    return wait(std::chrono::time_point_cast<std::chrono::steady_clock::duration>(when));
  }

  /// It is a handle of something.
  [[nodiscard]] explicit operator bool() const noexcept { return core_ != nullptr; }
  /// It was started and has not ended.
  [[nodiscard]] bool is_alive() const;
  /// How it ended; nothing before that, and nothing if nobody can tell, as a thread of its parent
  /// had waited for any child and taken the status (`wait()`, or SIGCHLD ignored).
  [[nodiscard]] std::optional<troupe::exit_status> exit_status() const;
  /// 0 before the start.
  [[nodiscard]] std::int64_t pid() const;
  [[nodiscard]] const std::string& name() const;
  [[nodiscard]] bool is_daemon() const;
  /// A descriptor that is readable (for poll, epoll, `wait_readable`) once the process has ended: a
  /// pidfd, closed with the last handle. The exit status follows a moment later: join does not
  /// block for long then.
  ///
  /// @throws error{wrong_state} before the start.
  [[nodiscard]] int sentinel() const;

  /// SIGTERM, to the process and what it started in its group. Nothing if it has ended.
  ///
  /// @throws error{wrong_state} before the start or after close.
  void terminate() const;
  /// SIGKILL.
  void kill() const;
  /// SIGINT: what Ctrl-C sends.
  void interrupt() const;
  /// Frees what the handle holds. Throws error{wrong_state} while the process runs.
  void close();

 private:
  [[nodiscard]] const detail::process_ptr& core() const;
  bool wait(const detail::deadline& until) const;

  detail::process_ptr core_;
};

/// Those that `process` and `process_base` started in this process and that have not ended.
/// Workers of pools are not among them: see `pool::workers`.
[[nodiscard]] std::vector<process_info> active_children();

/// A process as a class: what its `serialize` names crosses, and `run` is the new process.
///
/// Usage:   class job : public troupe::process_base<job> {
///            friend class troupe::process_base<job>;   // if job() or serialize are private
///           public:
///            job() = default;                          // for the new process, which fills it
///            explicit job(int n) : n_{n} {}
///            template <class Archive> void serialize(Archive& ar) { ar(n_); }
///            void run() override { … }
///
/// The object is encoded by `start`. What `run` changes in its object stays there.
///
/// @follows subclassing multiprocessing.Process.
template <class D>
class process_base {
 public:
  process_base() = default;
  explicit process_base(process_options options) : options_{std::move(options)} {}
  virtual ~process_base() = default;

  /// Runs in the new process.
  virtual void run() = 0;

  /// As process::start.
  void start() {
    static_assert(
        std::is_default_constructible_v<D>,
        "troupe: a class derived from process_base needs a default constructor, with which "
        "the new process begins before `serialize` fills the object");
    if (!handle_) {
      handle_ = process{options_, &process_base::run_object, static_cast<const D&>(*this)};
    }
    handle_.start();
  }
  void join() const { handle_.join(); }
  template <class Rep, class Period>
  bool join_for(std::chrono::duration<Rep, Period> timeout) const {
    return handle_.join_for(timeout);
  }
  [[nodiscard]] bool is_alive() const { return handle_ && handle_.is_alive(); }
  [[nodiscard]] std::optional<troupe::exit_status> exit_status() const {
    return handle_ ? handle_.exit_status() : std::nullopt;
  }
  [[nodiscard]] std::int64_t pid() const { return handle_ ? handle_.pid() : 0; }
  [[nodiscard]] std::string name() const { return handle_ ? handle_.name() : options_.name; }
  [[nodiscard]] bool is_daemon() const { return options_.daemon; }
  [[nodiscard]] int sentinel() const { return handle_.sentinel(); }
  void terminate() const { handle_.terminate(); }
  void kill() const { handle_.kill(); }
  void interrupt() const { handle_.interrupt(); }
  void close() { handle_.close(); }

 protected:
  process_base(const process_base&) = default;
  process_base& operator=(const process_base&) = default;

 private:
  static void run_object(D object) { object.run(); }

  process_options options_;
  process handle_;
};

}  // namespace troupe
