// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/coroutine_run.hpp"
#include "troupe/detail/futex.hpp"

#include "pools/thread/thread_core_impl.hpp"

#include <asio/io_context.hpp>
#include <cstddef>
#include <functional>
#include <memory>

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
  /// Sleeps until something is ready, or somebody pokes, and runs it.
  void wait(const deadline& until);
  /// Ends a `wait`; from any thread, also when this is gone.
  [[nodiscard]] std::function<void()> poker() const;

 private:
  friend class local_run;
  std::shared_ptr<asio::io_context> io_;
  std::size_t active_ = 0;
};

}  // namespace troupe::detail
