// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/pool.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace census {

/// What is to be done: for the estimate of the time that is left.
struct workload {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

/// Writes the progress to stderr: on a terminal one line that is rewritten, elsewhere a new
/// line every second.
///
/// @threads any, all members.
class progress {
 public:
  /// `pool` may be null; otherwise it outlives this.
  progress(const workload& all, const troupe::pool* pool);
  ~progress();
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;

  /// The work begins, perhaps again.
  void begin_pass(std::string_view name);
  void file_done(std::uint64_t bytes) {
    files_.fetch_add(1);
    bytes_.fetch_add(bytes);
  }
  /// In all passes.
  [[nodiscard]] std::uint64_t files_ever_done() const { return earlier_files_ + files_; }

 private:
  void show(std::stop_token stop);
  [[nodiscard]] std::string line() const;

  const workload all_;
  const troupe::pool* const pool_;
  const bool terminal_;
  std::atomic<std::uint64_t> files_ = 0;
  std::atomic<std::uint64_t> bytes_ = 0;
  std::atomic<std::uint64_t> earlier_files_ = 0;
  std::mutex mutex_;  // protects the two below, and keeps lines whole
  std::string pass_;
  std::chrono::steady_clock::time_point begun_;
  std::jthread thread_;
};

/// Prints a line to stderr, in the place of the progress line, which comes back below it.
void say(std::string_view text);

}  // namespace census
