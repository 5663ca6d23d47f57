// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/pool_core.hpp"

#include "caf/caf.hpp"
#include "caf/messages.hpp"
#include "futures/callback_runner.hpp"
#include "futures/made_here.hpp"
#include "futures/waiting_line.hpp"
#include "host/worker_host.hpp"
#include "pools/engine.hpp"
#include "pools/process/process_submission.hpp"

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace troupe::detail {

class supervisor;

/// What pool_stats are copied from.
struct pool_counts {
  counter submitted;
  counter queued;
  counter pending_retries;
  counter running;
  counter succeeded;
  counter failed;
  counter cancelled;
  counter retried;
  counter workers;
  counter deaths;
  counter recycled;
  counter retired;
};

/// Something asked of the supervisor by a thread that waits for the answer.
struct question {
  static constexpr std::uint32_t no = 0;
  static constexpr std::uint32_t waited_for = 1;  ///< no, and the asker sleeps on the word
  static constexpr std::uint32_t yes = 2;

  std::function<void(supervisor&)> answer;
  std::atomic<std::uint32_t> answered{no};
};

/// A pool as its handles see it: how to reach its supervisor, and what must not wait for it.
class pool_core final : public engine,
                        public process_observer,
                        public std::enable_shared_from_this<pool_core> {
 public:
  pool_core(std::shared_ptr<pool_host> host, const pool_options& options);
  ~pool_core() override;
  pool_core(const pool_core&) = delete;
  pool_core& operator=(const pool_core&) = delete;

  /// Starts the workers.
  void begin();
  /// Starts the workers and waits for them; throws what a pool's constructor throws.
  void start();
  /// Null: the queue is full, and it may not block, or was full until then. Throws pool_closed in a
  /// process that was forked from the pool's, too: whoever waited there would do so for ever.
  std::shared_ptr<process_submission> submit(submission_builder&& encoded, const options_ptr& how,
                                             std::shared_ptr<submission_group> group,
                                             std::uint32_t max_range, bool may_block,
                                             const deadline& until = {});
  void close() override;
  void join() override;
  bool join_until(const deadline& until) override;
  void terminate() override;
  void kill() override;
  void end() noexcept override;
  void retire() noexcept override;
  void cancel_waiting() override;
  void ask_all_to_stop() override;
  void resize(int workers) override;
  std::shared_ptr<room_turn> make_turn() override;
  std::vector<worker_info> workers() override;
  pool_stats stats() override;
  std::uint64_t processes() override;
  std::uint64_t killed() override;
  [[nodiscard]] const options_ptr& task_defaults() const noexcept override {
    return task_defaults_;
  }
  [[nodiscard]] std::chrono::milliseconds grace() const noexcept override { return options_.grace; }
  [[nodiscard]] std::string title() const override { return "pool '" + options_.name + "'"; }
  [[nodiscard]] bool can_wait() const noexcept override { return host_->can_wait(); }

  bool cancel(process_submission& which, bool force);
  void cancel_group(const std::shared_ptr<submission_group>& group);
  bool is_running(const process_submission& which);
  /// Spins for its result if tasks are so short that this beats sleeping. True: it is done.
  bool spin_for_outcome(const process_submission& which);
  future_state::executor callback_executor();

  [[nodiscard]] worker_host& host() const noexcept { return *host_; }
  [[nodiscard]] const std::shared_ptr<segment_pool>& segments() const noexcept {
    return host_->segments();
  }
  [[nodiscard]] const pool_options& options() const noexcept { return options_; }
  /// How many workers it may have at most just now.
  [[nodiscard]] int most_workers() const noexcept {
    return most_workers_.load(std::memory_order_relaxed);
  }
  submission_table& submissions() noexcept { return submissions_; }

  /// Sends to the supervisor, which then runs on this thread unless another is at it.
  void tell(supervisor_message kind, std::uint64_t number, std::string bytes = {});
  /// Runs `answer` on the supervisor's turn and waits. False: the supervisor is gone, or is that of
  /// the process which this one was forked from.
  bool ask(std::function<void(supervisor&)> answer);

  void started(std::uint64_t worker, std::int64_t pid, descriptor pidfd) override;
  void start_failed(std::uint64_t worker, int code) override;
  void ended(std::uint64_t worker, const exit_notice& notice) override;

  // Called by the supervisor.
  pool_counts& counts() noexcept { return counts_; }
  void note_finished();
  void note_dequeued(std::uint64_t tasks);
  /// Sent, taken back, and waiting again.
  void note_requeued(std::uint64_t tasks);
  void note_started();

  void note_task_time(double mean_ns) noexcept {
    mean_task_ns_.store(mean_ns, std::memory_order_relaxed);
  }
  void note_size(int most_workers) noexcept { most_workers_ = most_workers; }

  /// What a submission throws: empty while the pool takes work.
  void refuse_because(errc code, std::string text);

 private:
  void check_accepting();
  void fail_stranded() noexcept;

  const delete_where_made maker_{};
  std::shared_ptr<pool_host> host_;
  pool_options options_;
  options_ptr task_defaults_;
  pool_counts counts_;
  caf::actor supervisor_;
  submission_table submissions_;
  std::shared_ptr<callback_runner> callbacks_;
  std::atomic<int> most_workers_;
  std::atomic<double> mean_task_ns_{1e9};
  std::atomic<bool> retired_{false};
  std::atomic<bool> counted_out_{false};
  std::atomic<std::uint32_t> started_{0};
  std::atomic<std::uint32_t> finished_{0};
  std::atomic<bool> refusing_{false};
  std::mutex mutex_;
  errc refusal_ = errc::ok;   // guarded by mutex_
  std::string refusal_text_;  // guarded by mutex_
  std::atomic<std::uint64_t> queued_{0};
  std::atomic<std::uint32_t> queue_moved_{0};
  std::atomic<std::uint32_t> blocked_submitters_{0};
  // Whoever has the room that became free: one is called for each task that left the queue, and one
  // that does not use the call passes it on.
  waiting_line line_;
};

/// The engine behind a handle of `troupe::pool`.
[[nodiscard]] inline pool_core& core_of(const engine_ptr& pool) noexcept {
  return static_cast<pool_core&>(*pool);
}

}  // namespace troupe::detail
