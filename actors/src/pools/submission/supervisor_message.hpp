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

/// What the supervisor looks after at some later time.
enum class timer : std::uint8_t {
  start_limit,   ///< of a worker: it is ready by now
  limits,        ///< a task's timeout, grace time or deadline
  worker_grace,  ///< of a worker: it has left by now
  relaunch,      ///< the pause before another start is over
  balance,       ///< tasks may wait behind a slow one
  unblock,       ///< of a worker: what could not be sent may go now
  idle,          ///< workers of an elastic pool had nothing to do
  age,           ///< of a worker
  retry          ///< an attempt is due
};

// To a pool's supervisor, from threads of the same process; docs/protocol.md lists them.
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
  std::uint64_t worker = 0;  ///< its rings or its socket have something
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
  std::uint64_t number = 0;  ///< of an item between two attempts
  bool again = false;
};
/// A thread waits for results and has a moment to look for them.
struct look_for_results {};
struct time_passed {
  timer what{};
  std::uint64_t worker = 0;  ///< where it is a worker's
};

using supervisor_message =
    std::variant<run_task, ask_supervisor, channel_ready, worker_started, start_failed,
                 worker_exited, look_for_results, retry_answered, time_passed>;

}  // namespace troupe::detail
