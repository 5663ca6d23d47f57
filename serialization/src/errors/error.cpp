// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/error.hpp"

#include "base/never_destroyed.hpp"
#include "symbols/symbols.hpp"

#include <array>
#include <utility>

namespace troupe {
namespace {

constexpr std::array<std::string_view, 36> code_names{"ok",
                                                      "task_failed",
                                                      "worker_lost",
                                                      "timeout",
                                                      "cancelled",
                                                      "pool_closed",
                                                      "pool_broken",
                                                      "not_bootstrapped",
                                                      "already_bootstrapped",
                                                      "spawn_failed",
                                                      "start_timeout",
                                                      "initializer_failed",
                                                      "argument_encode_failed",
                                                      "argument_decode_failed",
                                                      "result_encode_failed",
                                                      "result_decode_failed",
                                                      "payload_too_large",
                                                      "resource_exhausted",
                                                      "version_mismatch",
                                                      "protocol_error",
                                                      "no_state",
                                                      "unknown_function",
                                                      "nesting_too_deep",
                                                      "would_deadlock",
                                                      "broken_barrier",
                                                      "end_of_stream",
                                                      "broken_pipe",
                                                      "authentication_failed",
                                                      "address_in_use",
                                                      "connect_failed",
                                                      "closed",
                                                      "buffer_too_short",
                                                      "queue_closed",
                                                      "wrong_state",
                                                      "connection_lost",
                                                      "not_on_this_machine"};
static_assert(code_names.size() == static_cast<std::size_t>(errc::not_on_this_machine) + 1);

std::optional<exit_status> exit_of(const failure& what) noexcept {
  switch (what.exit_kind) {
    case 1:
      return exited{what.exit_value};
    case 2:
      return killed_by{what.exit_value};
    default:
      return std::nullopt;
  }
}

const crash_details* crash_of(const failure& what) noexcept {
  return what.death && what.death->crash ? &*what.death->crash : nullptr;
}

std::string text_of_lost_worker(const failure& what) {
  if (!what.text.empty()) {
    return what.text;
  }
  const std::optional<exit_status> exit = exit_of(what);
  std::string text = "the worker";
  if (what.pid != 0) {
    text += " (pid " + std::to_string(what.pid) + ")";
  }
  text += " was lost";
  if (what.task != 0) {
    text += " with task #" + std::to_string(what.task);
  }
  return exit ? text + ": " + to_string(*exit) : text;
}

std::string text_of_remote(const failure& what) {
  return what.type_name.empty() ? what.text : what.type_name + ": " + what.text;
}

/// Made when it is first asked for: Clang cannot make a string of GCC 12's library before.
const std::string& no_text() noexcept {
  static const detail::never_destroyed<std::string> text;
  return text.value;
}
constinit const detail::never_destroyed<std::vector<code_location>> no_frames;

}  // namespace

std::string_view to_string(errc code) noexcept {
  const auto index = static_cast<std::size_t>(code);
  return index < code_names.size() ? code_names[index] : "unknown error code";
}

std::string_view to_string(task_ran ran) noexcept {
  switch (ran) {
    case task_ran::no:
      return "no";
    case task_ran::yes:
      return "yes";
    case task_ran::maybe:
      return "maybe";
  }
  return "unknown";
}

std::string to_string(const exit_status& status) {
  if (const auto* ended = std::get_if<exited>(&status)) {
    return "exit code " + std::to_string(ended->code);
  }
  const int signal = std::get<killed_by>(status).signal;
  std::string name = signal_name(signal);
  const std::string number = "signal " + std::to_string(signal);
  return name == number ? name : name + " (" + number + ")";
}

// Out of line, so that the type information of each class is emitted in this file alone.
error::~error() = default;
remote_error_info::~remote_error_info() = default;
remote_error::~remote_error() = default;
worker_lost::~worker_lost() = default;
timeout_error::~timeout_error() = default;
cancelled_error::~cancelled_error() = default;
pool_closed::~pool_closed() = default;
pool_broken::~pool_broken() = default;
broken_barrier::~broken_barrier() = default;
not_bootstrapped::~not_bootstrapped() = default;
end_of_stream::~end_of_stream() = default;
broken_pipe::~broken_pipe() = default;
authentication_error::~authentication_error() = default;
queue_closed::~queue_closed() = default;

remote_error_info::remote_error_info(std::shared_ptr<const failure> what) noexcept
    : failure_(std::move(what)) {}

error::error(errc code, std::shared_ptr<const failure> what, const std::string& text)
    : std::runtime_error(text), code_(code), ran_(what->ran), details_(std::move(what)) {}

std::string error::report() const {
  if (details_) {
    return troupe::report(*details_);
  }
  failure plain;
  plain.code = code_;
  plain.ran = ran_;
  plain.text = what();
  return troupe::report(plain);
}

remote_error::remote_error(std::shared_ptr<const failure> what)
    : error(what->code, what, text_of_remote(*what)), remote_error_info(what) {}

worker_lost::worker_lost(std::shared_ptr<const failure> what)
    : error(errc::worker_lost, what, text_of_lost_worker(*what)), failure_(std::move(what)) {}

std::optional<exit_status> worker_lost::exit() const noexcept {
  return exit_of(*failure_);
}

std::optional<int> worker_lost::signal() const noexcept {
  if (failure_->exit_kind != 2) {
    return std::nullopt;
  }
  return failure_->exit_value;
}

std::string worker_lost::signal_name() const {
  const std::optional<int> number = signal();
  return number ? troupe::signal_name(*number) : std::string{};
}

std::optional<int> worker_lost::signal_code() const noexcept {
  const crash_details* const crash = crash_of(*failure_);
  return crash != nullptr ? std::optional<int>{crash->code} : std::nullopt;
}

std::string worker_lost::signal_meaning() const {
  const crash_details* const crash = crash_of(*failure_);
  return crash != nullptr ? describe_signal_code(crash->signal, crash->code) : std::string{};
}

std::optional<std::uint64_t> worker_lost::fault_address() const noexcept {
  const crash_details* const crash = crash_of(*failure_);
  return crash != nullptr ? crash->address : std::nullopt;
}

bool worker_lost::stack_overflow() const noexcept {
  const crash_details* const crash = crash_of(*failure_);
  return crash != nullptr && crash->stack_overflow;
}

oom_kill worker_lost::out_of_memory() const noexcept {
  return failure_->death ? failure_->death->out_of_memory : oom_kill::unknown;
}

std::string worker_lost::limit() const {
  const std::optional<int> number = signal();
  return number ? limit_of_signal(*number) : std::string{};
}

std::optional<resource_usage> worker_lost::usage() const {
  return failure_->death ? failure_->death->usage : std::nullopt;
}

const std::string& worker_lost::stderr_tail() const noexcept {
  return failure_->death ? failure_->death->stderr_tail : no_text();
}

const std::vector<code_location>& worker_lost::frames() const noexcept {
  const crash_details* const crash = crash_of(*failure_);
  return crash != nullptr ? crash->frames : no_frames.value;
}

std::vector<std::string> remote_error_info::backtrace() const {
  return detail::describe_code(frames());
}

std::vector<std::string> worker_lost::backtrace() const {
  return detail::describe_code(frames());
}

std::string worker_lost::reason() const {
  const std::optional<exit_status> status = exit();
  return status ? to_string(*status) : std::string{what()};
}

}  // namespace troupe
