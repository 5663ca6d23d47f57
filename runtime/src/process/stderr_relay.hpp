// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/descriptor.hpp"

#include "base/thread_safety.hpp"
#include "os/reactor.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::detail {

/// Passes what workers write to stderr on to the stderr of this process, unchanged. A line that a
/// worker writes at once stays in one piece. The last lines of each worker are kept.
///
///   worker's descriptor 2 ══pipe══▶ its source ──▶ outgoing ──▶ descriptor 2 of this process
///                                     └─ tail
///
/// A worker that writes faster than this process's stderr takes it waits in its write; no other
/// worker or thread does. All is read and written on the reactor's thread.
///
/// @threads any.
class stderr_relay {
 public:
  explicit stderr_relay(reactor& loop) : loop_{loop} {}
  stderr_relay(const stderr_relay&) = delete;
  stderr_relay& operator=(const stderr_relay&) = delete;
  ~stderr_relay() = default;

  /// What becomes descriptor 2 of `worker`; empty when descriptors are too short for `to_come` more
  /// workers, which is logged once: then it keeps this process's.
  descriptor open(std::uint64_t worker, std::size_t to_come);
  /// Passes on what a dead worker left in its pipe, even if another process still has that open,
  /// and returns its last lines.
  std::string close(std::uint64_t worker);
  /// Before the reactor goes: passes on what is left, for at most a moment.
  void finish();

 private:
  struct source {
    descriptor pipe;
    std::string line;  // its end was not written yet
    std::string tail;
    bool stalled = false;     // to be read on when outgoing_ has room
    bool line_timer = false;  // passes an unfinished line on
  };

  void readable(std::uint64_t worker);
  void pass_everything_on();
  void read_some(std::uint64_t worker, source& from) TROUPE_REQUIRES(mutex_);
  void take(source& from, std::string_view bytes) TROUPE_REQUIRES(mutex_);
  void pass_line(source& from) TROUPE_REQUIRES(mutex_);
  void write_out() TROUPE_REQUIRES(mutex_);
  /// False: this process's stderr takes nothing just now.
  bool write_some() TROUPE_REQUIRES(mutex_);

  reactor& loop_;
  guarded_mutex mutex_;
  std::map<std::uint64_t, source> sources_ TROUPE_GUARDED_BY(mutex_);
  std::string outgoing_ TROUPE_GUARDED_BY(mutex_);
  std::size_t written_ TROUPE_GUARDED_BY(mutex_) = 0;  // of outgoing_
  std::vector<char> buffer_ TROUPE_GUARDED_BY(mutex_);
  bool write_timer_ TROUPE_GUARDED_BY(mutex_) = false;
  bool told_short_ TROUPE_GUARDED_BY(mutex_) = false;
  bool finished_ TROUPE_GUARDED_BY(mutex_) = false;
};

/// The last lines of `text`: at most `lines` and `bytes`. A first line that is too long is cut at
/// its front.
[[nodiscard]] std::string_view last_lines(std::string_view text, std::size_t lines,
                                          std::size_t bytes);

}  // namespace troupe::detail
