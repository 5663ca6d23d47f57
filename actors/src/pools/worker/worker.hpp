// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"
#include "troupe/detail/callable.hpp"
#include "troupe/detail/memory.hpp"
#include "troupe/error.hpp"

#include "channel/channel.hpp"
#include "channel/segment.hpp"
#include "pools/worker/coroutine_loop.hpp"
#include "pools/worker/nested.hpp"
#include "pools/worker/stop_watcher.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace troupe::detail {

/// The tasks of one frame, while they are run one after the other.
struct task_batch {
  frame_header frame;
  run_header header;
  std::span<const std::byte> payload;  ///< what is left of it
  std::string copy;                    ///< of the payload, once it has to wait
  std::span<const std::byte> state;
  std::shared_ptr<const mapping> callable_view;
  segment_reference callable_place;   ///< where its callable is, if that is in a segment
  attachment_list attachments;        ///< what its callable and its tasks refer to
  std::shared_ptr<erased_task> task;  ///< coroutines keep it, too
  std::exception_ptr no_callable;
  bool decoded = false;
  std::uint32_t next = 0;
  std::uint64_t timed_items = 0;
  std::int64_t begun = 0;
};

/// Cuts texts and drops causes and frames, so that it fits into a frame.
void shorten(failure& what);

/// The callable of the frame before, if its bytes were in a segment: the frames of a map refer to
/// the same ones, which are decoded once. A frame with another callable ends it.
struct large_callable {
  std::uint64_t segment = 0;
  std::uint64_t filling = 0;          ///< the slot of the reference
  std::shared_ptr<erased_task> task;  ///< null: none
  bool has_attachments = false;

  [[nodiscard]] bool is(const segment_reference& where) const noexcept {
    return task && segment == where.id && filling == where.slot;
  }
};

/// What a worker process does with the frames it gets: claims tasks, runs them, publishes results.
/// All of it on the main thread.
class worker {
 public:
  explicit worker(worker_channel& channel);

  void run_frames(std::span<const std::byte> frames);
  /// Of the task that runs; the supervisor hears of it, but not too often.
  void report(std::uint64_t done, std::uint64_t total, std::string_view text);

  [[nodiscard]] nested_calls& nested() noexcept { return nested_; }

  [[nodiscard]] bool stopping() const { return stopping_ || orphaned_; }

  /// Goes on with tasks that had to wait for others to end, one message of them. True: some could.
  bool run_held();

  /// Sleeps until there may be frames, or a coroutine can go on, which it then does. False: the
  /// supervisor is gone.
  bool sleep();

 private:
  [[nodiscard]] static std::int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  [[nodiscard]] bool may_begin() const {
    return !coroutines_ || coroutines_->active() < concurrency_;
  }

  // worker.cpp: frames, and what is said besides results
  void configure(const frame_header& frame, std::span<const std::byte> payload);
  [[nodiscard]] attachment_list attachments_of(const frame_header& frame);
  void sign(failure& what) const;
  void push(frame_kind kind, std::uint16_t flags, std::uint64_t number,
            std::span<const std::byte> head, std::span<const std::byte> body);

  // worker_tasks.cpp: tasks begin, and run
  void decode_callable(task_batch& batch);
  void run_tasks(const frame_header& frame, std::span<const std::byte> payload);
  /// Keeps it until a coroutine has ended: the frame's memory is the message's.
  void hold(task_batch batch, std::span<const std::byte> payload);
  /// False: as many coroutines as may be are active, and some of its tasks are left.
  bool run_batch(task_batch& batch);
  void run_next(task_batch& batch);
  result_timing time_item(task_batch& batch);
  coroutine_loop& coroutines();
  /// Of the frame with that number; returns where the part is, zeros if that is in the frame. When
  /// it throws, `payload` is behind the part.
  segment_reference take_part(std::span<const std::byte>& payload, std::uint64_t number,
                              std::span<const std::byte>& part,
                              std::shared_ptr<const mapping>& view);
  static void skip_part(std::span<const std::byte>& payload);

  // worker_results.cpp: what became of them
  void on_coroutine_end(const coroutine_end& how);
  void begin_result() {
    result_.clear();
    result_attachments_.clear();
  }
  void check_result() const;
  void send_failure(std::uint64_t number, const std::exception_ptr& thrown, task_stage stage,
                    const result_timing& timing);
  void send_result(std::uint64_t number, const result_timing& timing);
  /// Publishes a segment for a frame and fills in how the frame names it. Returns an errno: it could
  /// not be sent.
  int send_segment(const std::shared_ptr<segment>& what, std::uint64_t number,
                   segment_reference& where);
  /// False: there is no memory or descriptor for it.
  bool send_large_failure(std::uint64_t number, const failure& what, const result_timing& timing);
  /// Instead of a result whose descriptors cannot be sent.
  void refuse_result(std::uint64_t number, const result_timing& timing, int code);
  void send_inline(std::uint64_t number, std::uint16_t flags, const result_timing& timing,
                   std::span<const std::byte> bytes);

  worker_channel& channel_;
  stop_watcher watcher_;
  std::shared_ptr<segment_pool> segments_;
  payload_sink result_;
  nested_calls nested_;
  attachment_list result_attachments_;
  attachment_collector result_scope_{
      result_attachments_};  // of the main thread, on which all tasks run
  std::string host_;
  std::uint64_t concurrency_ = 1;
  std::unique_ptr<coroutine_loop> coroutines_;  // made for the first one
  std::deque<task_batch> held_;                 // until a coroutine ends, in order
  large_callable last_callable_;
  bool unrung_ = false;  // a coroutine's result may need the bell
  std::int64_t mean_ns_ = 0;
  std::uint64_t reported_for_ = 0;
  std::int64_t reported_at_ns_ = 0;
  bool stopping_ = false;
  bool orphaned_ = false;
};

}  // namespace troupe::detail
