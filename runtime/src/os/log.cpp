// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/log.hpp"

#include "base/fork_safety.hpp"

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

namespace troupe {
namespace {

struct hook_slot {
  detail::fork_safe_mutex mutex;
  std::shared_ptr<const log_hook> hook TROUPE_GUARDED_BY(mutex);
};

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

}  // namespace

void set_log_hook(log_hook hook) {
  auto fresh = hook ? std::make_shared<const log_hook>(std::move(hook)) : nullptr;
  hook_slot& here = slot();
  const detail::fork_safe_guard lock{here.mutex};
  here.hook.swap(fresh);
}

namespace detail {

void log(log_level level, std::string_view text) noexcept {
  try {
    std::shared_ptr<const log_hook> hook;
    {
      hook_slot& here = slot();
      const fork_safe_guard lock{here.mutex};
      hook = here.hook;
    }
    if (hook) {
      (*hook)(level, text);
    } else {
      to_stderr(level, text);
    }
  } catch (...) {
    // Swallowed: the code that reports a failure must not fail because of the report.
  }
}

}  // namespace detail
}  // namespace troupe
