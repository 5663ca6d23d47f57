// SPDX-License-Identifier: BSD-3-Clause

// What the templates of thread_pool.hpp call.

#include "futures/made_here.hpp"
#include "pools/option_checks.hpp"
#include "pools/thread/thread_core_impl.hpp"

#include <memory>
#include <utility>

namespace troupe::detail {

engine_ptr make_thread_pool(const thread_pool_options& options) {
  check_size_options("troupe::thread_pool", options);
  auto core = make_here<thread_core>(options);
  core->start();
  return core;
}

bool submit(const engine_ptr& pool, std::shared_ptr<thread_submission> submission, bool may_block,
            const deadline& until) {
  check_not_inherited(pool);
  return thread_core_of(pool).submit(std::move(submission), may_block, until);
}
}  // namespace troupe::detail
