// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/coroutine_run.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/detail/thread_submission.hpp"

#include "pools/thread/state/local_task.hpp"

#include <asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stop_token>

namespace troupe::detail {

/// Owns Asio's loop for the coroutines of one worker thread. While there are coroutines, the worker
/// sleeps in `wait` instead of at its bell.
///
/// @threads the worker's own, all members; the function that `poker` returns may be called by any.
class worker_loop {
 public:
  worker_loop();
  ~worker_loop();
  worker_loop(const worker_loop&) = delete;
  worker_loop& operator=(const worker_loop&) = delete;

  [[nodiscard]] std::size_t active() const noexcept { return active_; }
  /// True: there are coroutine tasks, or work that ended ones have left in the loop.
  [[nodiscard]] bool has_work();
  /// Runs what is ready now; returns after a bounded number of handlers.
  void run_ready();
  /// Sleeps until something is ready, or the worker's bell pokes it, and runs it.
  void wait(const deadline& until);
  /// A function that ends a `wait`. It may be called after this object has gone.
  [[nodiscard]] std::function<void()> poker() const;

  /// `thrown`: null if the value is stored. `stopped`: the coroutine ended because of a stop
  /// request.
  using end = std::function<void(const std::exception_ptr& thrown, bool stopped)>;
  /// Begins the coroutine of `as.item`. Calls `counted` when it is one of the active ones, and
  /// `ended` when it has ended, which may be before `begin` returns.
  void begin(const local_task& as, const std::shared_ptr<thread_submission>& submission,
             const std::stop_token& stop, end ended, const std::function<void()>& counted);

 private:
  friend class local_run;
  std::shared_ptr<asio::io_context> io_;
  std::size_t active_ = 0;
};

/// How many coroutines of the map are on the calling thread's stack.
[[nodiscard]] std::size_t coroutines_below_caller(const thread_group& map);

}  // namespace troupe::detail
