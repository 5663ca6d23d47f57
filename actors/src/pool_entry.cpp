// SPDX-License-Identifier: BSD-3-Clause

// What the templates of pool.hpp call, and what they may ask for.

#include "made_here.hpp"
#include "nested.hpp"
#include "pool_core_impl.hpp"

#include <stdexcept>
#include <string>
#include <utility>

namespace troupe::detail {

options_ptr share_options(const task_options& how) {
  constexpr std::size_t most_label_bytes = 200;
  const auto refuse = [](const std::string& text) {
    throw std::invalid_argument{"troupe: task options: " + text};
  };
  if (how.retries < 0) {
    refuse(".retries = " + std::to_string(how.retries) + " is negative");
  }
  if (how.timeout && how.timeout->count() <= 0) {
    refuse(".timeout = " + std::to_string(how.timeout->count()) +
           " ms is not positive (leave it out for no limit)");
  }
  if (how.grace && how.grace->count() < 0) {
    refuse(".grace = " + std::to_string(how.grace->count()) + " ms is negative");
  }
  if (how.deadline && how.deadline->count() <= 0) {
    refuse(".deadline = " + std::to_string(how.deadline->count()) +
           " ms is not positive (leave it out for no limit)");
  }
  if (how.backoff.count() < 0) {
    refuse(".backoff = " + std::to_string(how.backoff.count()) + " ms is negative");
  }
  if (how.label.size() > most_label_bytes) {
    refuse(".label has " + std::to_string(how.label.size()) + " bytes, the limit is " +
           std::to_string(most_label_bytes));
  }
  for (std::size_t i = 0; i < how.label.size(); ++i) {
    const auto c = static_cast<unsigned char>(how.label[i]);
    if (c < ' ' || c == 0x7F) {
      refuse(".label has a control character (" + std::to_string(c) + ") at byte " +
             std::to_string(i) + ": it is printed in error texts");
    }
  }
  return std::make_shared<const task_options>(how);
}

namespace {
constexpr int most_workers = 4096;
constexpr int most_concurrency = 65'536;
}  // namespace

pool_ptr make_pool(const pool_options& options) {
  const auto refuse = [](const std::string& text) {
    throw std::invalid_argument{"troupe::pool: " + text};
  };
  if (options.workers < 1 || options.workers > most_workers) {
    refuse(".workers = " + std::to_string(options.workers) + " is not between 1 and " +
           std::to_string(most_workers) + " (leave it out for usable_cpus())");
  }
  if (options.concurrency < 1 || options.concurrency > most_concurrency) {
    refuse(".concurrency = " + std::to_string(options.concurrency) + " is not between 1 and " +
           std::to_string(most_concurrency));
  }
  if (options.max_tasks_per_worker && *options.max_tasks_per_worker < 1) {
    refuse(".max_tasks_per_worker = " + std::to_string(*options.max_tasks_per_worker) +
           " is less than 1 (leave it out for no limit)");
  }
  if (options.min_workers || options.max_workers) {
    const int most = options.max_workers.value_or(options.workers);
    const int least = options.min_workers.value_or(1);
    if (least < 1 || most > most_workers || least > most) {
      refuse(".min_workers = " + std::to_string(least) + " and .max_workers = " +
             std::to_string(most) + " are not 1 <= min <= max <= " + std::to_string(most_workers));
    }
  }
  if (options.idle_timeout.count() < 0) {
    refuse(".idle_timeout = " + std::to_string(options.idle_timeout.count()) + " ms is negative");
  }
  if (options.max_worker_age && options.max_worker_age->count() <= 0) {
    refuse(".max_worker_age = " + std::to_string(options.max_worker_age->count()) +
           " ms is not positive (leave it out for no limit)");
  }
  if (options.max_worker_rss && *options.max_worker_rss == 0) {
    refuse(".max_worker_rss = 0 lets no worker live (leave it out for no limit)");
  }
  if (options.grace.count() < 0 || options.start_timeout.count() <= 0) {
    refuse(".grace must not be negative and .start_timeout must be positive");
  }
  if (options.restart.intensity < 0 || options.restart.period.count() <= 0 ||
      options.restart.start_attempts < 1 || options.restart.backoff.count() < 0 ||
      options.restart.max_backoff.count() < 0) {
    refuse(
        ".restart needs an intensity of 0 or more, a positive period, at least 1 start "
        "attempt, and a .backoff and .max_backoff that are not negative");
  }
  if (options.max_payload_bytes == 0) {
    refuse(".max_payload_bytes = 0 lets no task through");
  }
  if (engine::depth() >= max_pool_depth) {
    throw error{errc::would_deadlock, task_ran::no,
                "troupe: this task is inside of the tasks of " + std::to_string(engine::depth()) +
                    " pools: deeper they do not nest. Submit to this_task::pool() instead"};
  }
  auto owner = engine::current();
  auto core = make_here<pool_core>(owner, options);
  owner->add(core);
  core->start();
  return core;
}

std::shared_ptr<future_state> submit(const pool_ptr& pool, job_builder&& job,
                                     const options_ptr& options) {
  return pool->submit(std::move(job), options, nullptr, 0, true);
}

std::shared_ptr<future_state> try_submit(const pool_ptr& pool, job_builder&& job,
                                         const options_ptr& options) {
  return pool->submit(std::move(job), options, nullptr, 0, false);
}

std::shared_ptr<room_turn> make_turn(const pool_ptr& pool) {
  return pool->make_turn();
}

void close(const pool_ptr& pool) {
  check_not_inherited(pool);
  pool->close();
}
void join(const pool_ptr& pool) {
  check_not_inherited(pool);
  pool->join();
}
void terminate(const pool_ptr& pool) {
  check_not_inherited(pool);
  pool->terminate();
}
void end_pool(const pool_ptr& pool) noexcept {
  if (pool && !is_inherited(pool)) {
    pool->end();
  }
}
void resize(const pool_ptr& pool, int workers) {
  if (workers < 1 || workers > most_workers) {
    throw std::invalid_argument{"troupe::pool::resize: " + std::to_string(workers) +
                                " is not between 1 and " + std::to_string(most_workers)};
  }
  check_not_inherited(pool);
  pool->resize(workers);
}
const options_ptr& defaults_of(const pool_ptr& pool) {
  return pool->task_defaults();
}
std::vector<worker_info> workers_of(const pool_ptr& pool) {
  return pool->workers();
}
pool_stats stats_of(const pool_ptr& pool) {
  return pool->stats();
}

}  // namespace troupe::detail
