// SPDX-License-Identifier: BSD-3-Clause

// An error in words, for a person that reads it later.

#include "troupe/error.hpp"

#include "symbols/symbols.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe {
namespace {

/// Length of the valid UTF-8 sequence at the front of `text` that is printable there; 0: none.
std::size_t printable_sequence(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) {
    return first >= 0x20 && first != 0x7f ? 1 : 0;
  }
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) {
    return 0;
  }
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) {
      return 0;
    }
  }
  // Overlong forms, surrogates, beyond the last character; and the C1 controls, which terminals
  // obey.
  const bool wrong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) ||
                     (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f) ||
                     (first == 0xc2 && byte(1) < 0xa0);
  return wrong ? 0 : length;
}

std::string escaped(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const std::size_t good = printable_sequence(text);
    if (good > 0) {
      clean += text.substr(0, good);
      text.remove_prefix(good);
      continue;
    }
    if (text.front() == '\n') {
      clean += "\\n";
    } else if (text.front() == '\t') {
      clean += "\\t";
    } else {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\x%02x",
                    static_cast<unsigned>(static_cast<unsigned char>(text.front())));
      clean += hex;
    }
    text.remove_prefix(1);
  }
  return clean;
}

class report_text {
 public:
  void line(std::string_view text) {
    if (!text_.empty()) {
      text_ += '\n';
    }
    text_ += text;
  }
  void field(std::string_view name, const std::string& value) {
    if (!value.empty()) {
      std::string padded{name};
      padded.resize(std::max<std::size_t>(padded.size(), 11), ' ');
      line("  " + padded + " " + value);
    }
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string hexadecimal(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string seconds(std::int64_t microseconds) {
  char text[40];
  std::snprintf(text, sizeof text, "%.3f s", static_cast<double>(microseconds) / 1e6);
  return text;
}

std::string title_of(const failure& what) {
  // The standard's and the users' exceptions by their type, the library's own by their code.
  std::string title{what.type_name.empty() ? std::string{to_string(what.code)} : what.type_name};
  if (!what.type_name.empty() && what.code != errc::task_failed) {
    title += " (" + std::string{to_string(what.code)} + ")";
  }
  return title + (what.text.empty() ? "" : ": " + what.text);
}

std::string task_of(const failure& what) {
  if (what.task == 0) {
    return {};
  }
  std::string text = "#" + std::to_string(what.task);
  if (what.attempt != 0) {
    text += ", attempt " + std::to_string(what.attempt);
  }
  if (!what.stage.empty()) {
    text += ", at stage '" + what.stage + "'";
  }
  return text + "; did it run: " + std::string{to_string(what.ran)};
}

std::string process_of(const failure& what) {
  if (what.pid == 0) {
    return {};
  }
  return "pid " + std::to_string(what.pid) + (what.host.empty() ? "" : " on " + what.host);
}

void tell_death(report_text& out, const failure& what) {
  if (what.exit_kind == 1) {
    out.field("end", to_string(exit_status{exited{what.exit_value}}));
  } else if (what.exit_kind == 2) {
    out.field("end", to_string(exit_status{killed_by{what.exit_value}}));
    out.field("limit", limit_of_signal(what.exit_value));
  }
  if (!what.death) {
    return;
  }
  const death_details& death = *what.death;
  if (death.crash) {
    out.field("cause", describe_signal_code(death.crash->signal, death.crash->code) +
                           (death.crash->stack_overflow ? "; most likely a stack overflow" : ""));
    if (death.crash->address) {
      out.field("address", hexadecimal(*death.crash->address));
    }
  } else if (what.exit_kind == 2) {
    out.field("cause", "no record: SIGKILL and signals without a crash handler leave none");
  }
  if (what.exit_kind == 2 && death.out_of_memory != oom_kill::no) {
    out.field("OOM killer", std::string{to_string(death.out_of_memory)});
  }
  if (death.usage) {
    out.field("resources", "at most " + std::to_string(death.usage->max_rss_kib) +
                               " KiB resident, " + seconds(death.usage->user_us) + " user, " +
                               seconds(death.usage->system_us) + " system");
  }
}

void tell_attempts(report_text& out, const failure& what) {
  if (what.attempts.size() < 2 && (what.attempts.empty() || what.code == errc::worker_lost)) {
    return;  // the report's first lines tell of the only attempt
  }
  out.line("  attempts that ended with their worker:");
  for (const attempt_end& one : what.attempts) {
    out.line("    " + std::to_string(one.attempt) + ": pid " + std::to_string(one.pid) + ": " +
             escaped(one.reason));
  }
}

void tell_stderr(report_text& out, std::string_view tail) {
  if (tail.empty()) {
    return;
  }
  out.line("  last lines on its stderr:");
  while (!tail.empty()) {
    const auto end = tail.find('\n');
    out.line("    | " + escaped(tail.substr(0, end)));
    tail = end == std::string_view::npos ? std::string_view{} : tail.substr(end + 1);
  }
}

void tell_backtrace(report_text& out, const failure& what) {
  const std::vector<std::string> lines = detail::describe_code(
      what.death && what.death->crash ? what.death->crash->frames : what.frames);
  if (lines.empty()) {
    return;
  }
  // What called the task is the library, the same each time. The task may be inlined into the first
  // of those.
  const auto task = std::find_if(lines.begin(), lines.end(), [](const std::string& line) {
    return line.starts_with("troupe::detail::typed_task<");
  });
  const auto end = task == lines.end() ? task : task + 1;
  out.line("  backtrace, innermost call first:");
  for (auto at = lines.begin(); at != end; ++at) {
    out.line("    #" + std::to_string(at - lines.begin()) + " " + escaped(*at));
  }
  if (end != lines.end()) {
    out.line("    and " + std::to_string(lines.end() - end) + " of the library that called it");
  }
}

}  // namespace

std::string report(const failure& what) {
  report_text out;
  out.line(escaped(title_of(what)));
  for (const cause& one : what.causes) {
    out.line("  caused by: " + escaped(one.type) + ": " + escaped(one.text));
  }
  out.field("task", escaped(task_of(what)));
  out.field("process", escaped(process_of(what)));
  tell_death(out, what);
  tell_attempts(out, what);
  if (what.death) {
    tell_stderr(out, what.death->stderr_tail);
  }
  tell_backtrace(out, what);
  return out.take();
}

}  // namespace troupe
