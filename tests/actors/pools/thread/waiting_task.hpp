// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"
#include "troupe/thread_pool.hpp"

#include "pools/option_checks.hpp"
#include "pools/thread/thread_core.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace troupe::detail {

/// A submission to a pool whose threads are not started: it waits until a test claims it.
class waiting_task final : public thread_submission {
 public:
  waiting_task(engine_ptr owner, const task_options& how, std::uint32_t items)
      : thread_submission{std::move(owner), share_options(how)} {
    set_count(items);
  }
  [[nodiscard]] bool is_coroutine() const noexcept override { return false; }
  [[nodiscard]] bool is_void() const noexcept override { return true; }
  void run(std::uint32_t) override {}
  [[nodiscard]] std::string unrepeatable() const override { return {}; }
  void drop(std::uint32_t, std::uint32_t) noexcept override {}
  void drop_value(std::uint32_t) noexcept override {}
};

/// A pool without threads, as the owner of what waits.
class pool_without_threads {
 public:
  [[nodiscard]] std::shared_ptr<thread_submission> make(const task_options& how = {},
                                                        std::uint32_t items = 1) const {
    return std::make_shared<waiting_task>(core_, how, items);
  }

 private:
  std::shared_ptr<thread_core> core_ = std::make_shared<thread_core>(thread_pool_options{});
};

/// Options of an item that may run again.
inline task_options with_retries() {
  return {.retries = 1, .retry_if = [](const error&) { return true; }};
}

}  // namespace troupe::detail
