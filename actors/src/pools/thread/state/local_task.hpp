// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <stop_token>
#include <string_view>

namespace troupe::detail {

class attempt_book;
class thread_submission;

/// Which task of a thread pool the calling thread runs: what `this_task` reads. Lives on the stack
/// of the worker, or in its coroutine, while the task runs.
struct local_task {
  std::uint64_t number = 0;
  attempt_book* attempts = nullptr;
  thread_submission* submission = nullptr;
  std::uint32_t item = 0;
  std::uint32_t attempt = 1;
  bool over = false;  ///< the coroutine has ended, and work that it left in the loop runs
  /// The one of the calling thread; null outside of such tasks.
  static const local_task*& here() noexcept;
  void report(std::uint64_t done, std::uint64_t total, std::string_view text) const;
  [[nodiscard]] std::stop_token stop_token() const;
};

}  // namespace troupe::detail
