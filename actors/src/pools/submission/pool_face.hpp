// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/future_state.hpp"
#include "troupe/pool_options.hpp"

#include "host/process_observer.hpp"
#include "host/worker_host.hpp"
#include "pools/counter.hpp"
#include "pools/submission/supervisor_message.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace troupe::detail {

class process_submission;
class segment_pool;
class supervisor;

/// The numbers behind `pool_stats`. Written on the supervisor's turn, read by any thread.
struct pool_counts {
  counter submitted;
  counter queued;  ///< items in the supervisor's queue
  counter pending_retries;
  counter running;  ///< items sent to workers and without an outcome
  counter succeeded;
  counter failed;
  counter cancelled;
  counter retried;
  counter workers;
  counter deaths;
  counter recycled;
  counter retired;
};

/// The interface of a pool for its supervisor and its submissions; `pool_core` implements it.
///
/// Its submissions keep it alive.
class pool_face : public process_observer, public std::enable_shared_from_this<pool_face> {
 public:
  /// The pool's name in texts: "pool 'name'".
  [[nodiscard]] virtual std::string title() const = 0;
  [[nodiscard]] virtual const pool_options& options() const noexcept = 0;
  [[nodiscard]] virtual const options_ptr& task_defaults() const noexcept = 0;
  [[nodiscard]] virtual worker_host& host() const noexcept = 0;
  [[nodiscard]] virtual const std::shared_ptr<segment_pool>& segments() const noexcept = 0;
  /// Runs functions of users, on the pool's thread for callbacks.
  [[nodiscard]] virtual future_state::executor callback_executor() = 0;
  /// The same for predicates of .retry_if, which run while callbacks wait.
  [[nodiscard]] virtual future_state::executor predicate_executor() { return callback_executor(); }
  virtual pool_counts& counts() noexcept = 0;

  // To the supervisor, from any thread.
  /// Sends a message. Runs the supervisor on the calling thread, unless another thread is running
  /// it and so takes the message, too.
  virtual void tell(supervisor_message what) = 0;
  /// Runs `answer` on the supervisor's turn and blocks until then. False: the supervisor is gone,
  /// or belongs to the process from which this one was forked.
  virtual bool ask(std::function<void(supervisor&)> answer) = 0;
  virtual bool cancel(process_submission& which, bool force) = 0;
  virtual bool is_running(const process_submission& which) = 0;
  /// Spins for a submission's result if tasks are so short that spinning is faster than sleeping.
  /// True: it is done.
  virtual bool spin_for_outcome(const process_submission& which) = 0;

  // By the supervisor.
  virtual void note_started() = 0;
  virtual void note_finished() = 0;
  /// So many tasks left the queue: submitters that wait for room may go on.
  virtual void note_dequeued(std::uint64_t tasks) = 0;
  /// So many tasks that had left the queue are in it again.
  virtual void note_requeued(std::uint64_t tasks) = 0;
  virtual void note_task_time(double mean_ns) noexcept = 0;
  virtual void note_size(int most_workers) noexcept = 0;
  /// From now on each submission throws this error.
  virtual void refuse_because(errc code, std::string text) = 0;
};

}  // namespace troupe::detail
