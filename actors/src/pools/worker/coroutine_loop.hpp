// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/callable.hpp"
#include "troupe/detail/descriptor.hpp"
#include "troupe/detail/memory.hpp"

#include "pools/worker/this_worker.hpp"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>

namespace troupe::detail {

/// How a coroutine task ended.
struct coroutine_end {
  std::uint64_t number = 0;
  task_stage stage = task_stage::run;
  std::exception_ptr thrown;
  bool cancelled = false;  ///< it was asked to stop, and `thrown` says that it did
  std::uint64_t nanoseconds = 0;
};

/// The coroutine tasks of a worker, on its main thread: Asio's loop, and who is in it.
class coroutine_loop {
 public:
  /// `wake` becomes readable when frames may be there. `result` is where results are encoded, empty
  /// before each; `ended` is told right after, as the task that ended.
  coroutine_loop(descriptor wake, std::function<byte_sink&()> result,
                 std::function<void(const coroutine_end&)> ended);
  ~coroutine_loop();
  coroutine_loop(const coroutine_loop&) = delete;
  coroutine_loop& operator=(const coroutine_loop&) = delete;

  /// Copies `arguments`, unless they lie in `view`. Throws what erased_task::begin throws.
  void begin(const current_task& as, std::shared_ptr<erased_task> callable,
             std::span<const std::byte> arguments, std::shared_ptr<const mapping> view,
             task_stage& stage);
  /// Asks it to end; nothing if it is not here.
  void stop(std::uint64_t number);

  [[nodiscard]] std::size_t active() const noexcept;
  /// Tasks, or what they left to run on after them. Without any, nothing needs this loop.
  [[nodiscard]] bool has_work();
  /// What is ready now, but not for ever.
  void run_ready();
  /// Sleeps until something is ready or `wake` is, and runs it. True: it was `wake`.
  bool wait();

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace troupe::detail
