// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/detail/coroutine_run.hpp"

#include "trees/service/coroutine_thread.hpp"
#include "trees/service/service_state.hpp"

#include <asio/cancellation_signal.hpp>
#include <exception>
#include <functional>
#include <memory>
#include <span>

namespace troupe::detail {

/// A service whose function is a coroutine: one run of it, with all calls that `.every` makes.
///
/// A stop is a cancellation of what the coroutine waits for; it has done as it was asked if it ends
/// with that.
///
/// @threads the one that runs `where`; `ask_to_stop` any.
class service_coroutine final : public coroutine_run,
                                public std::enable_shared_from_this<service_coroutine> {
 public:
  /// `ended` is called once, when nothing of the coroutine is left; null: with success.
  service_coroutine(std::shared_ptr<service_state> self, std::shared_ptr<coroutine_thread> where,
                    bound_call target, std::function<void(std::exception_ptr)> ended);

  void begin();
  void ask_to_stop();

  [[nodiscard]] asio::any_io_executor executor() override;
  [[nodiscard]] asio::cancellation_slot stop_slot() override { return signal_.slot(); }
  byte_sink& result() override;
  void ended(task_stage stage, std::exception_ptr thrown) override;

 private:
  void call();
  void pause(std::chrono::milliseconds left);
  void conclude(std::exception_ptr thrown);

  const std::shared_ptr<service_state> self_;
  const std::shared_ptr<coroutine_thread> where_;
  bound_call target_;
  std::unique_ptr<erased_task> task_;
  std::function<void(std::exception_ptr)> told_;
  asio::cancellation_signal signal_;
  byte_buffer result_;  // dropped
};

}  // namespace troupe::detail
