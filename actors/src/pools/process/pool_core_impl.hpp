// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/pool_core.hpp"

#include "caf/mailbox.hpp"
#include "futures/callback_runner.hpp"
#include "futures/made_here.hpp"
#include "host/worker_host.hpp"
#include "pools/engine.hpp"
#include "pools/process/admission.hpp"
#include "pools/submission/pool_face.hpp"
#include "pools/submission/process_submission.hpp"
#include "pools/supervisor/supervisor.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace troupe::detail {

/// The engine of a pool of processes. Owns the mailbox of its supervisor, and what must not wait
/// for the supervisor: admission, counts, the thread of callbacks. Handles and submissions keep it
/// alive.
///
/// @threads any, all members.
class pool_core final : public engine, public pool_face {
 public:
  pool_core(std::shared_ptr<pool_host> host, const pool_options& options);
  ~pool_core() override;
  pool_core(const pool_core&) = delete;
  pool_core& operator=(const pool_core&) = delete;

  /// Starts the workers.
  void begin();
  /// Starts the workers and waits for them; throws what a pool's constructor throws.
  void start();
  /// Null: the queue is full and the caller may not block, or it was full until the deadline.
  /// Throws pool_closed, also in a process that was forked from the pool's, where no result would
  /// ever come.
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
  [[nodiscard]] child_status seen() const override;
  std::uint64_t processes() override;
  std::uint64_t killed() override;
  [[nodiscard]] const options_ptr& task_defaults() const noexcept override {
    return task_defaults_;
  }
  [[nodiscard]] std::chrono::milliseconds grace() const noexcept override { return options_.grace; }
  [[nodiscard]] std::string title() const override { return "pool '" + options_.name + "'"; }
  [[nodiscard]] bool can_wait() const noexcept override { return host_->can_wait(); }

  bool cancel(process_submission& which, bool force) override;
  void cancel_group(const std::shared_ptr<submission_group>& group);
  bool is_running(const process_submission& which) override;
  bool spin_for_outcome(const process_submission& which) override;
  future_state::executor callback_executor() override;
  future_state::executor predicate_executor() override;

  [[nodiscard]] worker_host& host() const noexcept override { return *host_; }
  [[nodiscard]] const std::shared_ptr<segment_pool>& segments() const noexcept override {
    return host_->segments();
  }
  [[nodiscard]] const pool_options& options() const noexcept override { return options_; }
  /// How many workers the pool may have at present.
  [[nodiscard]] int most_workers() const noexcept {
    return most_workers_.load(std::memory_order_relaxed);
  }

  void tell(supervisor_message what) override;
  bool ask(std::function<void(supervisor&)> answer) override;

  void started(std::uint64_t worker, std::int64_t pid, descriptor pidfd) override;
  void start_failed(std::uint64_t worker, int code) override;
  void ended(std::uint64_t worker, const exit_notice& notice) override;

  // Called by the supervisor.
  pool_counts& counts() noexcept override { return counts_; }
  void note_finished() override;
  void note_dequeued(std::uint64_t tasks) override { admission_.leave(tasks); }
  void note_requeued(std::uint64_t tasks) override { admission_.enter_anyway(tasks); }
  void note_started() override;

  void note_task_time(double mean_ns) noexcept override {
    mean_task_ns_.store(mean_ns, std::memory_order_relaxed);
  }
  void note_size(int most_workers) noexcept override { most_workers_ = most_workers; }
  void refuse_because(errc code, std::string text) override {
    admission_.refuse_because(code, std::move(text));
  }

 private:
  void fail_stranded(process_submission& submitted) noexcept;
  /// @blocks until the callbacks and predicates that were called for have returned, and the log
  ///   hook.
  void finish_callbacks();

  const delete_where_made maker_{};
  std::shared_ptr<pool_host> host_;
  pool_options options_;
  options_ptr task_defaults_;
  pool_counts counts_;
  mailbox<supervisor_message, supervisor> supervisor_;
  std::shared_ptr<callback_runner> callbacks_;
  /// Of .retry_if: a callback may wait for a task about which one has to be asked.
  std::shared_ptr<callback_runner> predicates_;
  admission admission_;
  std::atomic<int> most_workers_;
  std::atomic<double> mean_task_ns_{1e9};
  std::atomic<bool> retired_{false};
  std::atomic<bool> counted_out_{false};
  std::atomic<std::uint32_t> started_{0};
  std::atomic<std::uint32_t> finished_{0};
};

/// Makes a pool for a parent, so it is no child of the root. `made` is called before its workers are
/// started: from then on the pool can be ended while its start is waited for. Null: it has no
/// parent.
engine_ptr make_pool(const pool_options& options,
                     const std::function<void(const engine_ptr&)>& made);

/// The engine behind a handle of `troupe::pool`.
[[nodiscard]] inline pool_core& core_of(const engine_ptr& pool) noexcept {
  return static_cast<pool_core&>(*pool);
}

}  // namespace troupe::detail
