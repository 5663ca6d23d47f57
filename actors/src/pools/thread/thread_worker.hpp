// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"

#include "pools/thread/work/thread_coroutines.hpp"
#include "pools/thread/work/worker_table.hpp"

#include <cstdint>
#include <memory>
#include <optional>

namespace troupe::detail {

class thread_core;

/// A worker of a thread pool, on its own thread: runs tasks, and while one of them waits for a
/// future, the awaited task or others.
///
/// @threads its own, all members.
class thread_worker final : public wait_helper {
 public:
  thread_worker(thread_core& core, worker_seat& seat) : core_{core}, seat_{seat} {}
  thread_worker(const thread_worker&) = delete;
  thread_worker& operator=(const thread_worker&) = delete;

  /// The life of a worker, its initializer included.
  void live();
  void wait_for(const future_state& awaited) override;
  /// For a submission that finds the queue full: runs one task, which makes room.
  ///
  /// @throws error{would_deadlock}.
  void make_room();
  /// The calling thread's, if that is one of this pool's.
  static thread_worker* here(const thread_core& pool) noexcept;
  [[nodiscard]] worker_seat& seat() const noexcept { return seat_; }

 private:
  /// Null, or why it cannot begin.
  std::exception_ptr begin();
  /// Runs tasks until it is to leave.
  void take_turns();
  void leave();
  /// Runs one claim if there is any, of `wanted` rather than of another; false: nothing.
  bool lend_a_hand(const std::shared_ptr<thread_submission>& wanted, const future_state* awaited);
  void run_claimed(claimed_items& work, const future_state* awaited);
  void run_item(thread_submission& submission, std::uint32_t item, bool again);
  void begin_coroutine(const std::shared_ptr<thread_submission>& submission, std::uint32_t item,
                       bool again);
  /// The attempt that begins now; none if the item is over already.
  std::optional<std::uint32_t> enter(thread_submission& submission, std::uint32_t item, bool again);
  [[nodiscard]] bool may_begin_more() const;
  void sleep(std::uint32_t seen, const deadline& until);
  void note_busy();

  thread_core& core_;
  worker_seat& seat_;
  int depth_ = 0;                      ///< tasks on its stack
  std::unique_ptr<worker_loop> loop_;  ///< made with its first coroutine
};

}  // namespace troupe::detail
