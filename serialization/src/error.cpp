// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/error.hpp"

#include <array>
#include <csignal>
#include <utility>

namespace troupe {
namespace {

constexpr std::array<std::string_view, 25> code_names{"ok",
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
                                                      "queue_full",
                                                      "would_deadlock"};
static_assert(code_names.size() == static_cast<std::size_t>(errc::would_deadlock) + 1);

struct signal_name {
  int number;
  std::string_view name;
};

// The numbers differ between machines, so the names come from the platform's own macros; the ones
// ISO C does not know are in the table where <csignal> offers them.
constexpr signal_name signal_names[] = {
    {SIGABRT, "SIGABRT"},     {SIGFPE, "SIGFPE"},   {SIGILL, "SIGILL"},       {SIGINT, "SIGINT"},
    {SIGSEGV, "SIGSEGV"},     {SIGTERM, "SIGTERM"},
#ifdef SIGKILL
    {SIGKILL, "SIGKILL"},     {SIGHUP, "SIGHUP"},   {SIGQUIT, "SIGQUIT"},     {SIGTRAP, "SIGTRAP"},
    {SIGBUS, "SIGBUS"},       {SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"},     {SIGPIPE, "SIGPIPE"},
    {SIGALRM, "SIGALRM"},     {SIGCHLD, "SIGCHLD"}, {SIGCONT, "SIGCONT"},     {SIGSTOP, "SIGSTOP"},
    {SIGTSTP, "SIGTSTP"},     {SIGTTIN, "SIGTTIN"}, {SIGTTOU, "SIGTTOU"},     {SIGURG, "SIGURG"},
    {SIGXCPU, "SIGXCPU"},     {SIGXFSZ, "SIGXFSZ"}, {SIGVTALRM, "SIGVTALRM"}, {SIGPROF, "SIGPROF"},
    {SIGSYS, "SIGSYS"},
#endif
#ifdef SIGSTKFLT
    {SIGSTKFLT, "SIGSTKFLT"},
#endif
#ifdef SIGPOLL
    {SIGPOLL, "SIGPOLL"},
#endif
#ifdef SIGWINCH
    {SIGWINCH, "SIGWINCH"},
#endif
#ifdef SIGPWR
    {SIGPWR, "SIGPWR"},
#endif
};

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
  for (const signal_name& known : signal_names) {
    if (known.number == signal) {
      return std::string{known.name} + " (signal " + std::to_string(signal) + ")";
    }
  }
  return "signal " + std::to_string(signal);
}

// Out of line, so that each class has one home for its type information.
error::~error() = default;
remote_error_info::~remote_error_info() = default;
remote_error::~remote_error() = default;
worker_lost::~worker_lost() = default;
timeout_error::~timeout_error() = default;
cancelled_error::~cancelled_error() = default;
pool_closed::~pool_closed() = default;
pool_broken::~pool_broken() = default;
not_bootstrapped::~not_bootstrapped() = default;

remote_error_info::remote_error_info(std::shared_ptr<const failure> what) noexcept
    : failure_(std::move(what)) {}

remote_error::remote_error(std::shared_ptr<const failure> what)
    : error(what->code, what->ran, text_of_remote(*what)), remote_error_info(std::move(what)) {}

worker_lost::worker_lost(std::shared_ptr<const failure> what)
    : error(errc::worker_lost, what->ran, text_of_lost_worker(*what)), failure_(std::move(what)) {}

std::optional<exit_status> worker_lost::exit() const noexcept {
  return exit_of(*failure_);
}

std::optional<int> worker_lost::signal() const noexcept {
  if (failure_->exit_kind != 2) {
    return std::nullopt;
  }
  return failure_->exit_value;
}

std::string worker_lost::reason() const {
  const std::optional<exit_status> status = exit();
  return status ? to_string(*status) : std::string{what()};
}

}  // namespace troupe
