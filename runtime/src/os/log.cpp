// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/log.hpp"

#include "troupe/detail/futex.hpp"

#include "base/fork_safety.hpp"
#include "os/library_thread.hpp"

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace troupe {
namespace {

/// A report of a thread on which the hook must not run.
struct kept_report {
  log_level level{};
  std::string text;
};

/// So many wait for a hook that does not return, then reports are counted only.
constexpr std::size_t most_kept = 10'000;

struct hook_slot {
  detail::fork_safe_mutex mutex;
  std::shared_ptr<const log_hook> hook TROUPE_GUARDED_BY(mutex);
  std::deque<kept_report> kept TROUPE_GUARDED_BY(mutex);
  std::uint64_t dropped TROUPE_GUARDED_BY(mutex) = 0;
  /// The process that has a thread for what is kept.
  pid_t thread_in TROUPE_GUARDED_BY(mutex) = 0;
  /// Counts what was kept.
  std::uint32_t last_kept TROUPE_GUARDED_BY(mutex) = 0;
  /// What the hook has seen of that.
  std::atomic<std::uint32_t> last_seen{0};
};

/// The calling thread is the one that gives the hook what was kept.
constinit thread_local bool is_log_thread = false;

hook_slot& slot() {
  // Never destroyed: threads may still report while the program's statics go.
  static auto* const instance = new hook_slot;
  return *instance;
}
[[maybe_unused]] const hook_slot& slot_made_before_main = slot();

void to_stderr(log_level level, std::string_view text) {
  if (level < log_level::warning) {
    return;
  }
  std::string line = level == log_level::error ? "troupe: error: " : "troupe: warning: ";
  for (const char c : text) {
    // Control characters are replaced: a report stays one line, and the text of a task's error
    // cannot send commands to the terminal.
    line += static_cast<unsigned char>(c) < 0x20 && c != '\t' ? ' ' : c;
  }
  line += '\n';
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

void tell(const std::shared_ptr<const log_hook>& hook, log_level level,
          std::string_view text) noexcept {
  try {
    if (hook) {
      (*hook)(level, text);
    } else {
      to_stderr(level, text);
    }
  } catch (...) {
    // Swallowed: the code that reports a failure must not fail because of the report.
  }
}

/// Gives the hook what is kept until nothing is left.
void tell_kept() {
  is_log_thread = true;
  hook_slot& here = slot();
  for (;;) {
    std::shared_ptr<const log_hook> hook;
    kept_report next;
    std::uint64_t dropped = 0;
    {
      const detail::fork_safe_guard lock{here.mutex};
      if (here.kept.empty()) {
        here.thread_in = 0;
        return;
      }
      hook = here.hook;
      next = std::move(here.kept.front());
      here.kept.pop_front();
      dropped = std::exchange(here.dropped, 0);
    }
    tell(hook, next.level, next.text);
    if (dropped > 0) {
      tell(hook, log_level::warning,
           "troupe: the log hook is slow: it was not told of " + std::to_string(dropped) +
               " further reports");
    }
    here.last_seen.fetch_add(1);
    detail::futex_wake_all(here.last_seen);
  }
}

/// Leaves the report to the thread that calls the hook; where none can be started it goes to stderr.
void keep(log_level level, std::string_view text) {
  hook_slot& here = slot();
  {
    const detail::fork_safe_guard lock{here.mutex};
    const bool has_thread = here.thread_in == ::getpid();
    if (!has_thread) {
      // What is left here after a fork is the parent's, which tells it.
      here.kept.clear();
      here.last_seen = here.last_kept;
    }
    if (here.kept.size() >= most_kept) {
      ++here.dropped;
      return;
    }
    here.kept.push_back({level, std::string{text}});
    ++here.last_kept;
    if (has_thread) {
      return;
    }
    here.thread_in = ::getpid();
  }
  try {
    detail::start_thread("troupe.log", &tell_kept);
  } catch (const std::system_error&) {
    std::deque<kept_report> left;
    {
      const detail::fork_safe_guard lock{here.mutex};
      here.thread_in = 0;
      left.swap(here.kept);
      here.last_seen = here.last_kept;
    }
    detail::futex_wake_all(here.last_seen);
    for (const kept_report& one : left) {
      to_stderr(one.level, one.text);
    }
  }
}

}  // namespace

void set_log_hook(log_hook hook) {
  auto fresh = hook ? std::make_shared<const log_hook>(std::move(hook)) : nullptr;
  hook_slot& here = slot();
  const detail::fork_safe_guard lock{here.mutex};
  here.hook.swap(fresh);
}

namespace detail {

void log(log_level level, std::string_view text) noexcept {
  std::shared_ptr<const log_hook> hook;
  {
    hook_slot& here = slot();
    const fork_safe_guard lock{here.mutex};
    hook = here.hook;
  }
  if (!hook || !no_user_code::is_here()) {
    tell(hook, level, text);
    return;
  }
  try {
    keep(level, text);
  } catch (...) {
    // Swallowed, as above: there is no memory for it.
  }
}

void wait_for_log() noexcept {
  if (is_log_thread || no_user_code::is_here()) {
    return;
  }
  hook_slot& here = slot();
  std::uint32_t last = 0;
  {
    const fork_safe_guard lock{here.mutex};
    if (here.thread_in != ::getpid()) {
      return;
    }
    last = here.last_kept;
  }
  std::atomic<std::uint32_t>& seen = here.last_seen;
  for (std::uint32_t now = seen.load(); static_cast<std::int32_t>(now - last) < 0;
       now = seen.load()) {
    futex_wait(seen, now, std::nullopt);
  }
}

}  // namespace detail
}  // namespace troupe
