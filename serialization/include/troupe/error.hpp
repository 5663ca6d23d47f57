// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/death.hpp"

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace troupe {

/// What went wrong, for programs. The text of an `error` is for people.
///
/// Each one answers three questions. Ran: did the task run? Retry: may the caller try again? Act:
/// which person has to do something? ("Act: none" where nothing is wrong.)
// NOLINTNEXTLINE(performance-enum-size): two bytes on the wire leave room for more
enum class errc : std::uint16_t {
  /// No error. Ran: yes. Retry: no need. Act: none.
  ok = 0,
  /// The task threw. Ran: yes. Retry: only if the exception says so. Act: the task's author.
  task_failed,
  /// Its worker died. Ran: see `error::ran()`, maybe if it had begun. Retry: if the task may run
  /// twice. Act: the task's author; the operator if many die.
  worker_lost,
  /// The task ran longer than asked for. Ran: yes, not to its end. Retry: with more time. Act:
  /// the caller.
  timeout,
  /// Cancelled before an outcome. Ran: no if still queued, else maybe. Retry: yes. Act: none.
  cancelled,
  /// The pool takes no more work. Ran: no. Retry: on another pool. Act: the caller.
  pool_closed,
  /// Workers died faster than the restart limit. Ran: maybe. Retry: on a new pool. Act: the
  /// operator looks for the first death in the log.
  pool_broken,
  /// There is no `troupe::system` in main. Ran: no. Retry: no. Act: the programmer adds the line.
  not_bootstrapped,
  /// A second `troupe::system`. Ran: no. Retry: no. Act: the programmer removes one.
  already_bootstrapped,
  /// No process could be created. Ran: no. Retry: later. Act: the operator (limits, memory).
  spawn_failed,
  /// A worker did not report in time. Ran: no. Retry: yes. Act: the operator (load, start-up work).
  start_timeout,
  /// The initializer threw. Ran: no. Retry: no. Act: the initializer's author.
  initializer_failed,
  /// An argument's `save` threw. Ran: no. Retry: no. Act: the argument type's author.
  argument_encode_failed,
  /// An argument's `load` threw or its bytes were wrong. Ran: no. Retry: no. Act: the argument
  /// type's author: save and load disagree.
  argument_decode_failed,
  /// The result's `save` threw. Ran: yes. Retry: no. Act: the result type's author.
  result_encode_failed,
  /// The result's `load` threw or its bytes were wrong. Ran: yes. Retry: no. Act: the result
  /// type's author.
  result_decode_failed,
  /// Bigger than a configured limit. Ran: no for arguments, yes for results. Retry: smaller. Act:
  /// the caller, or the operator that set the limit.
  payload_too_large,
  /// Out of memory, descriptors or shared memory. Ran: no. Retry: later. Act: the operator.
  resource_exhausted,
  /// The peer was built from other sources. Ran: no. Retry: no. Act: the operator deploys one
  /// build.
  version_mismatch,
  /// Bytes that no process of this library writes. Ran: maybe. Retry: no. Act: the operator; a bug
  /// or an attack.
  protocol_error,
  /// A future or handle without a state was used. Ran: no. Retry: no. Act: the programmer.
  no_state,
  /// No such function where it should run. Ran: no. Retry: no. Act: the programmer registers it or
  /// deploys the library that has it.
  unknown_function,
  /// A value nested deeper than the codec's limit. Ran: no for arguments, yes for results. Retry:
  /// no. Act: the type's author serializes a flat form.
  nesting_too_deep,
  /// Waiting here would never end. Ran: no. Retry: no. Act: the programmer.
  would_deadlock,
  /// A barrier whose parties will not all come: a timeout, an abort, a reset, or a death in its
  /// action. Ran: no. Retry: after `reset()`. Act: the caller.
  broken_barrier,
  /// The peer closed its end or died, and all it sent was read. Ran: no. Retry: no. Act: none.
  end_of_stream,
  /// The other end is closed, so no process can read what is sent. Ran: no. Retry: on a new
  /// connection. Act: none.
  broken_pipe,
  /// The peer has another key, or is another user. Ran: no. Retry: no. Act: the operator.
  authentication_failed,
  /// Another listener has the address. Ran: no. Retry: later, or elsewhere. Act: the operator.
  address_in_use,
  /// No listener has the address, or it cannot be reached. Ran: no. Retry: later. Act: the
  /// operator.
  connect_failed,
  /// This process closed the handle before. Ran: no. Retry: no. Act: the programmer.
  closed,
  /// The message is longer than the room for it, and comes with the error. Ran: no. Retry: no. Act:
  /// the programmer.
  buffer_too_short,
  /// The queue was closed, and for a reader also drained. Ran: no. Retry: no. Act: none.
  queue_closed,
  /// Not at this time of the object's life: started twice, joined before its start. Ran: no. Retry:
  /// no. Act: the programmer.
  wrong_state,
  /// The link to the machine where the object is was cut. Ran: see `error::ran()`, maybe if it was
  /// asked and not answered. Retry: with a new handle, if it may be done twice. Act: the operator.
  connection_lost,
  /// Works only on the machine where the object is. Ran: no. Retry: no. Act: the programmer; the
  /// text says what to use instead.
  not_on_this_machine
};

/// Whether the task ran.
enum class task_ran : std::uint8_t {
  no,    ///< it never began
  yes,   ///< it began
  maybe  ///< its worker died with it, or the answer was lost
};

/// The enumerator's name, or "unknown error code".
[[nodiscard]] std::string_view to_string(errc code) noexcept;
/// The enumerator's name, or "unknown".
[[nodiscard]] std::string_view to_string(task_ran ran) noexcept;

/// A process that ended by itself.
struct exited {
  int code = 0;  ///< what it gave to exit, 0 to 255
  /// Compares the codes.
  bool operator==(const exited&) const = default;
};

/// A process that a signal ended.
struct killed_by {
  int signal = 0;  ///< the signal's number, see `signal_name`
  /// Compares the signals.
  bool operator==(const killed_by&) const = default;
};

/// How a process ended.
using exit_status = std::variant<exited, killed_by>;

/// An exit status in words: "exit code 99" or "SIGSEGV (signal 11)".
[[nodiscard]] std::string to_string(const exit_status& status);

/// One link of a chain of nested exceptions.
struct cause {
  std::string type;  ///< demangled
  std::string text;  ///< its what()
  /// Compares all members.
  bool operator==(const cause&) const = default;
  /// How the codec writes and reads it.
  template <class Archive>
  void serialize(Archive& ar) {
    ar(type, text);
  }
};

/// The exception types of the standard that arrive as themselves; `none` stands for all others.
enum class standard_exception : std::uint8_t {
  none,
  exception,
  logic_error,
  domain_error,
  invalid_argument,
  length_error,
  out_of_range,
  runtime_error,
  range_error,
  overflow_error,
  underflow_error,
  bad_alloc,
  bad_array_new_length,
  bad_cast,
  bad_typeid,
  bad_exception,
  bad_function_call,
  bad_weak_ptr,
  bad_optional_access,
  bad_variant_access,
  bad_any_cast,
  system_error,
  ios_failure,
  filesystem_error,
  future_error,
  regex_error
};

/// Why a task has no value, as plain data: copies, compares, crosses.
///
/// An empty `type_name` means that no exception was thrown: the library itself made the failure.
struct failure {
  errc code = errc::task_failed;                           ///< what went wrong
  task_ran ran = task_ran::yes;                            ///< whether the task ran
  standard_exception std_type = standard_exception::none;  ///< what `to_exception` rebuilds
  std::string type_name;                                   ///< demangled type of what was thrown
  std::string text;                                        ///< its what()
  std::vector<cause> causes;          ///< nested exceptions, outermost first, at most 16
  std::int32_t error_value = 0;       ///< of an error_code; the code of a regex_error
  std::string error_category;         ///< its category's name
  std::string path1,                  ///< of a filesystem_error
      path2;                          ///< of a filesystem_error
  std::int64_t pid = 0;               ///< of the process where it happened; 0 when unknown
  std::string host;                   ///< of the machine where it happened; empty when unknown
  std::uint64_t task = 0;             ///< the task's number, as in error texts; 0: not about a task
  std::uint32_t attempt = 0;          ///< 1 for the first
  std::uint8_t exit_kind = 0;         ///< 0 none, 1 exited, 2 killed by a signal
  std::int32_t exit_value = 0;        ///< exit code or signal number
  std::string stage;                  ///< what the worker was doing
  std::vector<code_location> frames;  ///< where it was thrown, innermost call first
  std::optional<death_details> death;  ///< of the worker, if this is about its end
  std::vector<attempt_end> attempts;   ///< those that ended with their workers, oldest first

  /// Compares all members.
  bool operator==(const failure&) const = default;
  /// How the codec writes and reads it.
  template <class Archive>
  void serialize(Archive& ar) {
    ar(code, ran, std_type, type_name, text, causes, error_value, error_category, path1, path2, pid,
       host, task, attempt, exit_kind, exit_value, stage, frames, death, attempts);
  }
};

/// @{
/// Tells the codec which numbers are enumerators; it refuses others.
[[nodiscard]] constexpr bool is_valid(errc code) noexcept {
  return code <= errc::not_on_this_machine;
}
[[nodiscard]] constexpr bool is_valid(task_ran ran) noexcept {
  return ran <= task_ran::maybe;
}
[[nodiscard]] constexpr bool is_valid(standard_exception type) noexcept {
  return type <= standard_exception::regex_error;
}
/// @}

/// Everything there is to say about `what`, for a person: several lines, without one at the end.
///
/// What happened, the task, its attempts, the process, signal and cause, resource usage, the last
/// lines of stderr, the backtrace, the chain of causes; what is not known is left out. Control
/// characters are escaped. Looks up symbols for the backtrace: milliseconds, not for hot paths.
[[nodiscard]] std::string report(const failure& what);

namespace detail {
struct failure_access;
}  // namespace detail

/// Base of everything this library throws for a reason in the world: a lost worker, a time that
/// passed, a resource that is missing.
///
/// @blocks no; `report`, and names of a backtrace, read debug information: milliseconds.
/// @threads any; copies share their text.
/// @crosses as a `failure`, and arrives as the same class.
/// @worker_dies nothing changes: all that is known is in the object.
/// @throws no member throws anything but std::bad_alloc.
class error : public std::runtime_error {
 public:
  /// `text` is what() and names what a person needs: the task, the worker, the limit that was hit.
  error(errc code, task_ran ran, const std::string& text)
      : std::runtime_error(text), code_(code), ran_(ran) {}
  /// @{
  /// Copies are the same error.
  error(const error&) = default;
  error(error&&) = default;
  error& operator=(const error&) = default;
  error& operator=(error&&) = default;
  /// @}
  ~error() override;

  /// What went wrong.
  [[nodiscard]] errc code() const noexcept { return code_; }
  /// Whether the task ran.
  [[nodiscard]] task_ran ran() const noexcept { return ran_; }
  /// Everything that is known, for a person: see `troupe::report`.
  [[nodiscard]] std::string report() const;

 protected:
  /// One that was made of a failure, which `report` tells in full.
  error(errc code, std::shared_ptr<const failure> what, const std::string& text);

 private:
  friend struct detail::failure_access;
  errc code_;
  task_ran ran_;
  std::shared_ptr<const failure> details_;
};

/// What every exception that came from another process also is, next to what it is otherwise.
///
/// `catch (const std::out_of_range& e)` works as if the task had run here; a `dynamic_cast` of `e`
/// to this, or `catch (const troupe::remote_error_info&)`, tells the rest.
///
/// @threads any; copies share what they say.
/// @crosses as a `failure`; the exception arrives as the same standard type.
/// @throws no member throws anything but std::bad_alloc.
// NOLINTNEXTLINE(cppcoreguidelines-special-member-functions): a moved-from one would dangle
class remote_error_info {
 public:
  /// Made of a failure, which is not null.
  explicit remote_error_info(std::shared_ptr<const failure> what) noexcept;
  /// @{
  /// Copies share what they say.
  remote_error_info(const remote_error_info&) = default;
  remote_error_info& operator=(const remote_error_info&) = default;
  /// @}
  virtual ~remote_error_info();

  /// The demangled type of what was thrown.
  [[nodiscard]] const std::string& type_name() const noexcept { return failure_->type_name; }
  /// The original what().
  [[nodiscard]] const std::string& message() const noexcept { return failure_->text; }
  /// The chain of nested exceptions, outermost first, without the exception itself.
  [[nodiscard]] const std::vector<cause>& causes() const noexcept { return failure_->causes; }
  /// The process that threw; 0 if that is not known.
  [[nodiscard]] std::int64_t pid() const noexcept { return failure_->pid; }
  /// The machine of that process; empty if that is not known.
  [[nodiscard]] const std::string& host() const noexcept { return failure_->host; }
  /// The task's number, as in error texts; 0 if no task threw it.
  [[nodiscard]] std::uint64_t task() const noexcept { return failure_->task; }
  /// Which attempt at the task threw it, 1 for the first.
  [[nodiscard]] std::uint32_t attempt() const noexcept { return failure_->attempt; }
  /// The calls that led to the throw, innermost first, at most 32; empty if they are not known, as
  /// for coroutines and tasks of thread pools.
  [[nodiscard]] const std::vector<code_location>& frames() const noexcept {
    return failure_->frames;
  }
  /// The same in words, a line per frame: function, file and line, if the symbols have them.
  /// Reads the program's debug information: milliseconds at least.
  [[nodiscard]] std::vector<std::string> backtrace() const;
  /// All of it as plain data.
  [[nodiscard]] const failure& as_failure() const noexcept { return *failure_; }
  /// All of it for a person: see `troupe::report`.
  [[nodiscard]] std::string report() const { return troupe::report(*failure_); }

 private:
  std::shared_ptr<const failure> failure_;
};

/// An exception of a type that this process cannot rebuild; what() is "type: original text".
class remote_error : public error, public remote_error_info {
 public:
  /// Made of a failure, which is not null.
  explicit remote_error(std::shared_ptr<const failure> what);
  ~remote_error() override;
  using error::report;
};

/// Tells how a worker died; only the task it was running (or the coroutines it had begun) fails
/// with this.
///
/// What is not known is absent: a worker that SIGKILL ended leaves no fault address.
class worker_lost : public error {
 public:
  /// Made of a failure, which is not null.
  explicit worker_lost(std::shared_ptr<const failure> what);
  ~worker_lost() override;

  /// The worker's process, gone when this is thrown; 0 if that is not known.
  [[nodiscard]] std::int64_t pid() const noexcept { return failure_->pid; }
  /// The worker's machine; empty if that is not known.
  [[nodiscard]] const std::string& host() const noexcept { return failure_->host; }
  /// How the process ended, if that is known.
  [[nodiscard]] std::optional<exit_status> exit() const noexcept;
  /// The signal that ended it, if one did.
  [[nodiscard]] std::optional<int> signal() const noexcept;
  /// That signal's name, as "SIGSEGV"; empty if no signal ended it.
  [[nodiscard]] std::string signal_name() const;
  /// How it ended, in words: "SIGKILL (signal 9)", "exit code 0", or what is known when neither is.
  [[nodiscard]] std::string reason() const;
  /// The number of the task that was lost, as in error texts.
  [[nodiscard]] std::uint64_t task() const noexcept { return failure_->task; }
  /// Which attempt at the task was lost, 1 for the first.
  [[nodiscard]] std::uint32_t attempt() const noexcept { return failure_->attempt; }
  /// What the worker was doing, for example "run".
  [[nodiscard]] const std::string& stage() const noexcept { return failure_->stage; }

  /// The system's si_code, of a worker that could note it down.
  [[nodiscard]] std::optional<int> signal_code() const noexcept;
  /// What that code means, as "SEGV_MAPERR: address not mapped"; empty without a signal_code.
  [[nodiscard]] std::string signal_meaning() const;
  /// The address that it accessed or executed when it crashed.
  [[nodiscard]] std::optional<std::uint64_t> fault_address() const noexcept;
  /// It crashed where its main thread's stack ends. Of threads that tasks made this is not known.
  [[nodiscard]] bool stack_overflow() const noexcept;
  /// Whether the kernel's OOM killer ended it.
  [[nodiscard]] oom_kill out_of_memory() const noexcept;
  /// The limit it was over, as "RLIMIT_CPU: CPU time", if its signal is what the kernel sends then;
  /// else empty.
  [[nodiscard]] std::string limit() const;
  /// Peak memory and CPU time of the process.
  [[nodiscard]] std::optional<resource_usage> usage() const;
  /// The last lines it wrote to stderr, its earlier tasks' included, as they are: at most 20 and
  /// 8 KiB. Empty without `pool_options::capture_stderr`.
  [[nodiscard]] const std::string& stderr_tail() const noexcept;
  /// The calls that led to the crash, innermost first; empty if they are not known.
  [[nodiscard]] const std::vector<code_location>& frames() const noexcept;
  /// The same in words, a line per frame: function, file and line, if the symbols have them.
  /// Reads the program's debug information: milliseconds at least.
  [[nodiscard]] std::vector<std::string> backtrace() const;
  /// Every attempt that ended with its worker, oldest first, this one last.
  [[nodiscard]] const std::vector<attempt_end>& attempts() const noexcept {
    return failure_->attempts;
  }
  /// All of it as plain data.
  [[nodiscard]] const failure& as_failure() const noexcept { return *failure_; }

 private:
  std::shared_ptr<const failure> failure_;
};

/// A time that was given has passed: a task's `.timeout` or `.deadline`, or that of a call here.
class timeout_error : public error {
 public:
  /// With errc::timeout.
  explicit timeout_error(const std::string& text, task_ran ran = task_ran::yes)
      : error(errc::timeout, ran, text) {}
  ~timeout_error() override;
};

/// The task was cancelled before it had an outcome: by `cancel()`, by the end of its pool, or
/// because an earlier item of its map failed.
class cancelled_error : public error {
 public:
  /// With errc::cancelled.
  explicit cancelled_error(const std::string& text, task_ran ran = task_ran::no)
      : error(errc::cancelled, ran, text) {}
  ~cancelled_error() override;
};

/// The pool takes no more work.
class pool_closed : public error {
 public:
  /// With errc::pool_closed.
  explicit pool_closed(const std::string& text, task_ran ran = task_ran::no)
      : error(errc::pool_closed, ran, text) {}
  ~pool_closed() override;
};

/// Workers died faster than `pool_options::restart` allows; the pool runs nothing any more.
class pool_broken : public error {
 public:
  /// With errc::pool_broken.
  explicit pool_broken(const std::string& text, task_ran ran = task_ran::no)
      : error(errc::pool_broken, ran, text) {}
  ~pool_broken() override;
};

/// Not all parties of a barrier came: one gave up, or the barrier was aborted or reset.
class broken_barrier : public error {
 public:
  /// With errc::broken_barrier.
  explicit broken_barrier(const std::string& text, task_ran ran = task_ran::no)
      : error(errc::broken_barrier, ran, text) {}
  ~broken_barrier() override;
};

/// `troupe::system` is missing in main.
class not_bootstrapped : public error {
 public:
  /// With errc::not_bootstrapped.
  explicit not_bootstrapped(const std::string& text)
      : error(errc::not_bootstrapped, task_ran::no, text) {}
  ~not_bootstrapped() override;
};

/// The other end of a connection is closed, and all it had sent was received.
class end_of_stream : public error {
 public:
  /// With errc::end_of_stream.
  explicit end_of_stream(const std::string& text, task_ran ran = task_ran::no)
      : error(errc::end_of_stream, ran, text) {}
  ~end_of_stream() override;
};

/// The other end of a connection is closed: what is sent can arrive nowhere.
class broken_pipe : public error {
 public:
  /// With errc::broken_pipe.
  explicit broken_pipe(const std::string& text, task_ran ran = task_ran::no)
      : error(errc::broken_pipe, ran, text) {}
  ~broken_pipe() override;
};

/// The two ends of a socket have different keys, or the peer is another user and there is no key.
class authentication_error : public error {
 public:
  /// With errc::authentication_failed.
  explicit authentication_error(const std::string& text, task_ran ran = task_ran::no)
      : error(errc::authentication_failed, ran, text) {}
  ~authentication_error() override;
};

/// The queue takes no more items; thrown to a reader, it has none left either.
class queue_closed : public error {
 public:
  /// With errc::queue_closed.
  explicit queue_closed(const std::string& text, task_ran ran = task_ran::no)
      : error(errc::queue_closed, ran, text) {}
  ~queue_closed() override;
};

/// Turns a caught exception into plain data; never throws and calls nothing but `what()`.
///
/// Anything may be thrown: `throw 42` gives the type name "int". A what() that returns a null
/// pointer is survived; texts are cut at 64 KiB. An exception that itself came from another process
/// keeps what it said about its origin.
[[nodiscard]] failure capture_failure(const std::exception_ptr& thrown) noexcept;

/// The same for an exception from a stage other than the task itself: it keeps `code`, its text
/// says which stage failed, and `to_exception` makes a `remote_error` of it.
[[nodiscard]] failure capture_failure(errc code, const std::exception_ptr& thrown) noexcept;

/// A fresh exception object for `what`, made without any constructor of a user's type.
///
/// Types of the standard arrive as a class derived from that type and from `remote_error_info`,
/// with the original what(); error codes of the generic, system, iostream and future categories are
/// kept, others become the same number in the generic category. Nested exceptions are rebuilt for
/// `std::rethrow_if_nested`. Unknown types arrive as `remote_error`, the library's own as
/// themselves.
[[nodiscard]] std::exception_ptr to_exception(const failure& what);

/// Throws what `to_exception` makes.
[[noreturn]] void rethrow(const failure& what);

/// What `on_error` callbacks receive: always an `error`, so a `remote_error` for what a task threw.
[[nodiscard]] std::shared_ptr<const error> to_error(const failure& what);

}  // namespace troupe
