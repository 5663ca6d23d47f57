// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/state/local_task.hpp"

#include "troupe/progress.hpp"

#include "pools/thread/state/attempt_book.hpp"

#include <chrono>
#include <string>

namespace troupe::detail {

const local_task*& local_task::here() noexcept {
  constinit thread_local const local_task* now = nullptr;
  return now;
}

void local_task::report(std::uint64_t done, std::uint64_t total, std::string_view text) const {
  // No more often than a worker process reports.
  constexpr std::chrono::milliseconds interval{20};
  constinit thread_local std::uint64_t reported_for = 0;
  constinit thread_local std::chrono::steady_clock::time_point reported_at;
  const auto now = std::chrono::steady_clock::now();
  if (reported_for == number && now - reported_at < interval && (total == 0 || done < total)) {
    return;
  }
  reported_for = number;
  reported_at = now;
  submission->report({done, total, std::string{text.substr(0, max_progress_text)}});
}

std::stop_token local_task::stop_token() const {
  return attempts->stop_token(*submission, item, attempt);
}

}  // namespace troupe::detail
