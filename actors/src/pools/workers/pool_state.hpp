// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/submission/pool_face.hpp"
#include "pools/submission/task_range.hpp"
#include "pools/workers/worker_set.hpp"
#include "scheduling/task_queue.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace troupe::detail {

/// A pool's life:
///
///   starting ──▶ open ──close──▶ closing ──drained──▶ finished
///      └──────────┴──────────────┴──terminate──▶ terminating ──▶ finished
///                 └──────────────┴──too many deaths──▶ broken
enum class pool_phase : std::uint8_t { starting, open, closing, terminating, broken, finished };

/// What all parts of one pool's supervisor share: the queue, the workers, the phase, the counts.
/// Owned by the supervisor.
///
/// @threads the supervisor's turn, all members.
struct pool_state {
  explicit pool_state(pool_face& pool)
      : face{pool}, options{pool.options()}, host{pool.host()}, counts{pool.counts()} {}

  pool_face& face;
  const pool_options& options;
  worker_host& host;
  pool_counts& counts;
  pool_phase phase = pool_phase::starting;
  worker_set workers{};
  task_queue<task_range> queue{};
  bool dispatch_due = false;  ///< since the last dispatch a task or a worker's room was added

  [[nodiscard]] steady_time now() const { return host.now(); }
  /// How many tasks a worker may run at once.
  [[nodiscard]] std::uint32_t concurrency() const {
    return static_cast<std::uint32_t>(options.concurrency);
  }
  /// True while tasks are sent to workers.
  [[nodiscard]] bool serving() const {
    return phase == pool_phase::open || phase == pool_phase::closing;
  }
  [[nodiscard]] bool work_left() const {
    return counts.queued > 0 || counts.running > 0 || counts.pending_retries > 0;
  }
  [[nodiscard]] std::chrono::milliseconds grace_of(const process_submission& work) const {
    return work.options().grace.value_or(options.grace);
  }

  void enqueue(task_range what) {
    counts.queued += what.count;
    queue.push(std::move(what));
    dispatch_due = true;
  }
  /// Puts back a range that had left the queue, in front of all others of its depth and
  /// priority.
  void enqueue_again(task_range what) {
    counts.queued += what.count;
    face.note_requeued(what.count);
    queue.push_front(std::move(what));
    dispatch_due = true;
  }
  /// So many waiting items were sent to a worker or got an outcome.
  void note_dequeued(std::uint64_t items) {
    counts.queued -= items;
    face.note_dequeued(items);
  }

  /// Sends the supervisor `time_passed` then; nothing for `steady_time::max()`.
  void set_timer(steady_time when, timer what, std::uint64_t worker = 0) {
    if (when == steady_time::max()) {
      return;
    }
    host.call_at(when, [weak = face.weak_from_this(), what, worker] {
      if (const auto pool = weak.lock()) {
        pool->tell(time_passed{what, worker});
      }
    });
  }
};

/// A failure with a code and a text, and without details of a worker or an attempt.
[[nodiscard]] inline std::shared_ptr<failure> plain_failure(errc code, task_ran ran,
                                                            std::string text) {
  auto made = std::make_shared<failure>();
  made->code = code;
  made->ran = ran;
  made->text = std::move(text);
  return made;
}

}  // namespace troupe::detail
