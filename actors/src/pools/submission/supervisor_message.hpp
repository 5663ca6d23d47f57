// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "process/exit_notice.hpp"

#include <cstdint>
#include <memory>
#include <utility>
#include <variant>

namespace troupe::detail {

class process_submission;
struct question;

/// What a timer of the supervisor is for.
enum class timer : std::uint8_t {
  start_limit,   ///< the time in which a worker has to be ready is over
  limits,        ///< a task's timeout, grace time or deadline is over
  worker_grace,  ///< the time in which a worker has to leave is over
  relaunch,      ///< the pause before another start is over
  balance,       ///< look for tasks that wait behind a slow one
  unblock,       ///< try again what a worker had no room for
  idle,          ///< look for workers of an elastic pool that were idle too long
  age,           ///< a worker has reached its age limit
  retry          ///< the next attempt at an item is due
};

// Messages to a pool's supervisor from threads of its process, sent by `mailbox`; docs/protocol.md
// lists them.
struct run_task {
  std::shared_ptr<process_submission> work;
};
/// The asker waits, so the question is there until it is answered, or the message is dropped: the
/// supervisor was gone when it came.
class ask_supervisor {
 public:
  explicit ask_supervisor(question& what) noexcept : what_{&what} {}
  ask_supervisor(ask_supervisor&& other) noexcept : what_{std::exchange(other.what_, nullptr)} {}
  ask_supervisor& operator=(ask_supervisor&&) = delete;
  ~ask_supervisor() {
    if (what_ != nullptr) {
      end(false);
    }
  }
  [[nodiscard]] question& what() const noexcept { return *what_; }
  /// Once; the asker may be gone when it returns.
  void end(bool is_answered) noexcept;

 private:
  question* what_;
};
struct channel_ready {
  std::uint64_t worker = 0;  ///< a frame of it has arrived in its ring or its socket
};
struct worker_started {
  std::uint64_t worker = 0;
  std::int64_t pid = 0;
};
struct start_failed {
  std::uint64_t worker = 0;
  int code = 0;  ///< an errno
};
struct worker_exited {
  std::uint64_t worker = 0;
  exit_notice how;
};
/// The user's predicate has said whether there is another attempt.
struct retry_answered {
  std::uint64_t number = 0;  ///< that `attempts` gave the item
  bool again = false;
};
/// A thread that waits for a result spins, and lets the supervisor read the channels meanwhile.
struct look_for_results {};
struct time_passed {
  timer what{};
  std::uint64_t worker = 0;  ///< 0: the timer is not for one worker
};

using supervisor_message =
    std::variant<run_task, ask_supervisor, channel_ready, worker_started, start_failed,
                 worker_exited, look_for_results, retry_answered, time_passed>;

}  // namespace troupe::detail
