// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/this_task.hpp"

#include "troupe/error.hpp"

#include "pools/thread/state/local_task.hpp"
#include "pools/worker/nested.hpp"
#include "pools/worker/stop_watcher.hpp"
#include "pools/worker/this_worker.hpp"
#include "pools/worker/worker.hpp"

#include <unistd.h>

#include <utility>

namespace troupe::detail {
namespace {

void report_progress(std::uint64_t done, std::uint64_t total, std::string_view text) {
  this_worker().host->report(done, total, text);
}

nested_calls& calls_of_task() {
  if (this_worker().host == nullptr || this_worker().task.number == 0 ||
      local_task::here() != nullptr || ::getpid() != ::gettid()) {
    throw error{errc::wrong_state, task_ran::no,
                "troupe: this_task::pool() is for tasks of a pool of processes, on the thread that "
                "runs the task: elsewhere use the pool itself, or make another one"};
  }
  return this_worker().host->nested();
}

}  // namespace

submission_builder nested_builder() {
  return calls_of_task().builder();
}
std::shared_ptr<future_state> submit_nested(submission_builder&& submission) {
  return calls_of_task().submit(std::move(submission));
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
  const auto& now = detail::this_worker().task;
  if (now.stop != nullptr) {
    return now.stop->get_token();
  }
  return now.number != 0 && now.watcher != nullptr ? now.watcher->token(now.number)
                                                   : std::stop_token{};
}
void progress(std::uint64_t done, std::uint64_t total, std::string_view text) {
  if (const auto* const local = detail::local_task::here()) {
    local->report(done, total, text);
  } else if (detail::this_worker().task.number != 0) {
    detail::report_progress(done, total, text);
  }
}
std::uint64_t id() noexcept {
  const auto* const local = detail::local_task::here();
  return local != nullptr ? local->number : detail::this_worker().task.task;
}
std::uint32_t attempt() noexcept {
  const auto* const local = detail::local_task::here();
  return local != nullptr ? local->attempt : detail::this_worker().task.attempt;
}

}  // namespace troupe::this_task
