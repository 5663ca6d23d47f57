// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/coroutine_run.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/detail/thread_submission.hpp"

#include "pools/thread/work/local_task.hpp"

#include <asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stop_token>

namespace troupe::detail {

/// The coroutines of one worker thread: Asio's loop. The worker's sleep is here while there are
/// any.
///
/// @threads the worker's, all members but `poker`'s result.
class worker_loop {
 public:
  worker_loop();
  ~worker_loop();
  worker_loop(const worker_loop&) = delete;
  worker_loop& operator=(const worker_loop&) = delete;

  [[nodiscard]] std::size_t active() const noexcept { return active_; }
  /// Tasks, or what they left to run on after them.
  [[nodiscard]] bool has_work();
  /// What is ready now, but not for ever.
  void run_ready();
  /// Sleeps until something is ready, or the worker's bell pokes it, and runs it.
  void wait(const deadline& until);
  /// Ends a `wait`; from any thread, also when this is gone.
  [[nodiscard]] std::function<void()> poker() const;

  /// `thrown`: null if its value is stored. `stopped`: it ended because it was asked to.
  using end = std::function<void(const std::exception_ptr& thrown, bool stopped)>;
  /// Begins the coroutine of `as.item`. `counted` is called when it is one of the active ones,
  /// `ended` when it has ended: perhaps before this returns.
  void begin(const local_task& as, const std::shared_ptr<thread_submission>& submission,
             const std::stop_token& stop, end ended, const std::function<void()>& counted);

 private:
  friend class local_run;
  std::shared_ptr<asio::io_context> io_;
  std::size_t active_ = 0;
};

/// How many coroutines of the map the calling thread is in the middle of.
[[nodiscard]] std::size_t coroutines_below_caller(const thread_group& map);

}  // namespace troupe::detail
