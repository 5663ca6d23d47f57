// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/this_task.hpp"

#include "troupe/error.hpp"
#include "troupe/own_pool.hpp"

#include "current_task.hpp"
#include "nested.hpp"
#include "stop_watcher.hpp"
#include "thread_core_impl.hpp"
#include "worker.hpp"

#include <unistd.h>

#include <utility>

namespace troupe::detail {
namespace {

void report_progress(std::uint64_t done, std::uint64_t total, std::string_view text) {
  reporter->report(done, total, text);
}

nested_calls& calls_of_task() {
  if (reporter == nullptr || current.number == 0 || local_task::here() != nullptr ||
      ::getpid() != ::gettid()) {
    throw error{errc::wrong_state, task_ran::no,
                "troupe: this_task::pool() is for tasks of a pool of processes, on the thread that "
                "runs the task: elsewhere use the pool itself, or make another one"};
  }
  return reporter->nested();
}

}  // namespace

job_builder nested_builder() {
  return calls_of_task().builder();
}
std::shared_ptr<future_state> submit_nested(job_builder&& job) {
  return calls_of_task().submit(std::move(job));
}

}  // namespace troupe::detail

namespace troupe::this_task {

own_pool pool() {
  static_cast<void>(detail::calls_of_task());
  return {};
}

// A task of a thread pool first: it may be in a worker process, inside of a task there.
std::stop_token stop_token() {
  if (const auto* const local = detail::local_task::here()) {
    return local->stop_token();
  }
  const auto& now = detail::current;
  if (now.stop != nullptr) {
    return now.stop->get_token();
  }
  return now.number != 0 && now.watcher != nullptr ? now.watcher->token(now.number)
                                                   : std::stop_token{};
}
void progress(std::uint64_t done, std::uint64_t total, std::string_view text) {
  if (const auto* const local = detail::local_task::here()) {
    local->report(done, total, text);
  } else if (detail::current.number != 0) {
    detail::report_progress(done, total, text);
  }
}
std::uint64_t id() noexcept {
  const auto* const local = detail::local_task::here();
  return local != nullptr ? local->number : detail::current.task;
}
std::uint32_t attempt() noexcept {
  const auto* const local = detail::local_task::here();
  return local != nullptr ? local->attempt : detail::current.attempt;
}

}  // namespace troupe::this_task
