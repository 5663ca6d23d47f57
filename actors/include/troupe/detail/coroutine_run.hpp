// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/byte_sink.hpp"
#include "troupe/detail/callable.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <exception>

namespace troupe::detail {

/// Asio opens the descriptors of a loop at its first use, which a coroutine makes: opens them now,
/// above the numbers of the standard streams. Without any left, Asio will say so.
asio::io_context& with_own_numbers(asio::io_context& loop) noexcept;

/// One run of a coroutine task: the side of the worker, for the templates that know its type.
///
/// @threads the one that runs `executor`, all members.
class coroutine_run {
 public:
  coroutine_run() = default;
  coroutine_run(const coroutine_run&) = delete;
  coroutine_run& operator=(const coroutine_run&) = delete;
  virtual ~coroutine_run();

  /// All that runs there runs as this task: `this_task` speaks of it.
  [[nodiscard]] virtual asio::any_io_executor executor() = 0;
  /// Where a stop request arrives.
  [[nodiscard]] virtual asio::cancellation_slot stop_slot() = 0;
  /// Where the result goes: empty, to be filled and followed by `ended` without a suspension in
  /// between.
  virtual byte_sink& result() = 0;
  /// Called once, at the end. Null: `result` has the result.
  virtual void ended(task_stage stage, std::exception_ptr thrown) = 0;
};

}  // namespace troupe::detail
