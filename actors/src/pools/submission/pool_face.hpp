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

/// What pool_stats are copied from. Written by the pool's supervisor.
struct pool_counts {
  counter submitted;
  counter queued;  ///< items that wait for a worker
  counter pending_retries;
  counter running;  ///< items with workers
  counter succeeded;
  counter failed;
  counter cancelled;
  counter retried;
  counter workers;
  counter deaths;
  counter recycled;
  counter retired;
};

/// A pool as its supervisor and its submissions see it.
class pool_face : public process_observer, public std::enable_shared_from_this<pool_face> {
 public:
  /// What texts call it: "pool 'name'".
  [[nodiscard]] virtual std::string title() const = 0;
  [[nodiscard]] virtual const pool_options& options() const noexcept = 0;
  [[nodiscard]] virtual const options_ptr& task_defaults() const noexcept = 0;
  [[nodiscard]] virtual worker_host& host() const noexcept = 0;
  [[nodiscard]] virtual const std::shared_ptr<segment_pool>& segments() const noexcept = 0;
  /// Where users' functions run.
  [[nodiscard]] virtual future_state::executor callback_executor() = 0;
  virtual pool_counts& counts() noexcept = 0;

  // To the supervisor, by any thread.
  /// The supervisor then runs on this thread, unless another is at it.
  virtual void tell(supervisor_message what) = 0;
  /// Runs `answer` on the supervisor's turn and waits. False: the supervisor is gone, or is that of
  /// the process which this one was forked from.
  virtual bool ask(std::function<void(supervisor&)> answer) = 0;
  virtual bool cancel(process_submission& which, bool force) = 0;
  virtual bool is_running(const process_submission& which) = 0;
  /// Spins for its result if tasks are so short that this beats sleeping. True: it is done.
  virtual bool spin_for_outcome(const process_submission& which) = 0;

  // By the supervisor.
  virtual void note_started() = 0;
  virtual void note_finished() = 0;
  /// Tasks went to workers or have an outcome: the queue has room for others.
  virtual void note_dequeued(std::uint64_t tasks) = 0;
  /// Tasks wait again that had been sent, or are between two attempts.
  virtual void note_requeued(std::uint64_t tasks) = 0;
  virtual void note_task_time(double mean_ns) noexcept = 0;
  virtual void note_size(int most_workers) noexcept = 0;
  /// What a submission throws from now on.
  virtual void refuse_because(errc code, std::string text) = 0;
};

}  // namespace troupe::detail
