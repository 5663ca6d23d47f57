// SPDX-License-Identifier: BSD-3-Clause

// The functions that the templates of pool.hpp call, and the checks of their arguments.

#include "futures/made_here.hpp"
#include "host/runtime.hpp"
#include "pools/option_checks.hpp"
#include "pools/pool_limits.hpp"
#include "pools/process/pool_core_impl.hpp"

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace troupe::detail {

namespace {
/// How deep pools may be made in tasks of other pools.
constexpr std::uint64_t max_pool_depth = 10;
}  // namespace

engine_ptr make_pool(const pool_options& options) {
  return make_pool(options, nullptr);
}

engine_ptr make_pool(const pool_options& options,
                     const std::function<void(const engine_ptr&)>& made) {
  constexpr std::string_view who = "troupe::pool";
  const auto refuse = [who](const std::string& text) {
    throw std::invalid_argument{std::string{who} + ": " + text};
  };
  check_size_options(who, options);
  if (options.max_tasks_per_worker && *options.max_tasks_per_worker < 1) {
    refuse(".max_tasks_per_worker = " + std::to_string(*options.max_tasks_per_worker) +
           " is less than 1 (leave it out for no limit)");
  }
  check_positive(who, ".max_worker_age", options.max_worker_age);
  if (options.max_worker_rss && *options.max_worker_rss == 0) {
    refuse(".max_worker_rss = 0 lets no worker live (leave it out for no limit)");
  }
  check_positive(who, ".start_timeout", options.start_timeout);
  check_limits(who, options);
  if (options.max_payload_bytes == 0) {
    refuse(".max_payload_bytes = 0 lets no task through");
  }
  if (runtime::depth() >= max_pool_depth) {
    throw error{errc::would_deadlock, task_ran::no,
                "troupe: this task is inside of the tasks of " + std::to_string(runtime::depth()) +
                    " pools: deeper they do not nest. Submit to this_task::pool() instead"};
  }
  auto owner = runtime::current();
  const auto core = [&] {
    const runtime::making is_known_soon{*owner};
    auto fresh = make_here<pool_core>(owner, options);
    owner->add(fresh);
    return fresh;
  }();
  if (made) {
    made(core);
  } else {
    list_at_root(std::static_pointer_cast<engine>(core), options.name);
  }
  core->start();
  return core;
}

std::shared_ptr<future_state> submit(const engine_ptr& pool, submission_builder&& submission,
                                     const options_ptr& options) {
  return core_of(pool).submit(std::move(submission), options, nullptr, 0, true);
}

std::shared_ptr<future_state> try_submit(const engine_ptr& pool, submission_builder&& submission,
                                         const options_ptr& options) {
  return core_of(pool).submit(std::move(submission), options, nullptr, 0, false);
}

}  // namespace troupe::detail
