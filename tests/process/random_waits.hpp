// SPDX-License-Identifier: BSD-3-Clause
// Tasks of thread pools that wait for each other at random, without a circle.
#pragma once

#include "troupe/wait.hpp"

#include "thread_fixture.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace troupe::test {

/// Submits tasks that wait for up to three earlier ones each, and for no others, by a random form of
/// wait, with random options; some are cancelled, and pools change their size. One seed makes the
/// same tasks each time.
class random_waits {
 public:
  /// Fails if one of them does not end, or ends with anything but a value or a cancellation.
  static void all_end(unsigned seed, bool in_two_pools) {
    SCOPED_TRACE("seed " + std::to_string(seed) + (in_two_pools ? ", two pools" : ", one pool"));
    random_waits storm{seed, in_two_pools};
    for (int i = 0; i < 400; ++i) {
      storm.submit_one();
    }
    storm.check();
  }

 private:
  using futures = std::vector<future<int>>;

  random_waits(unsigned seed, bool in_two_pools) : random_{seed}, in_two_pools_{in_two_pools} {}

  int less_than(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

  thread_pool& any_pool() {
    const auto which = static_cast<std::size_t>(less_than(2));
    return pools_[in_two_pools_ ? which : 0];
  }

  static int wait_by(int form, const futures& before, thread_pool& other) {
    using namespace std::chrono_literals;
    const auto same = [](int x) { return x; };
    int sum = 0;
    const auto add = [&sum](const auto& ended) {
      for (const auto& f : ended) {
        sum += f.successful() ? f.get() : 0;
      }
    };
    switch (form) {
      case 0:
        for (const auto& f : before) {
          sum += f.get();
        }
        break;
      case 1:
        for (const int x : when_all(before).get()) {
          sum += x;
        }
        break;
      case 2:
        add(wait(before).done);
        break;
      case 3:
        for (const auto& f : as_completed(before)) {
          add(futures{f});
        }
        break;
      case 4:
        for (const auto& f : before) {
          sum += f.then(same).get();
        }
        break;
      case 5:
        for (const auto& f : before) {
          sum += f.get_for(1ms).value_or(0);
        }
        break;
      case 6:
        for (const auto& f : before) {
          const auto on = [&other](int x) { return other.apply_async([x] { return x; }); };
          sum += f.then(on).get();
        }
        break;
      case 7:
        for (const int x : other.map(same, std::vector{1, 2, 3})) {
          sum += x;
        }
        break;
      default:
        add(wait(before, return_when::first_completed).done);
        break;
    }
    return sum % 1000;
  }

  void submit_one() {
    using namespace std::chrono_literals;
    futures before;
    for (int left = all_.empty() ? 0 : less_than(4); left > 0; --left) {
      before.push_back(all_[static_cast<std::size_t>(
          std::max(0, static_cast<int>(all_.size()) - 1 - less_than(12)))]);
    }
    const auto work = [form = less_than(9), before, &other = any_pool()] {
      try {
        return wait_by(form, before, other);
      } catch (const cancelled_error&) {
        return 0;  // one of those before was
      }
    };
    thread_pool& p = any_pool();
    switch (less_than(10)) {
      case 0:
        all_.push_back(
            p.with({.affinity = "key " + std::to_string(less_than(5))}).apply_async(work));
        break;
      case 1:
        all_.push_back(p.with({.priority = less_than(3) - 1}).apply_async(work));
        break;
      case 2:
        all_.push_back(p.with({.timeout = 1h}).apply_async(work));
        break;
      case 3:
        all_.push_back(
            p.with({.retries = 2, .retry_if = [](const error&) { return true; }, .backoff = 1ms})
                .apply_async([work, tries = std::make_shared<std::atomic<int>>(0)] {
                  return ++*tries < 3 ? throw std::runtime_error{"again"} : work();
                }));
        break;
      default:
        all_.push_back(p.apply_async(work));
        break;
    }
    if (less_than(15) == 0) {
      all_[static_cast<std::size_t>(less_than(static_cast<int>(all_.size())))].cancel();
    }
    if (less_than(40) == 0) {
      any_pool().resize(1 + less_than(4));
    }
  }

  void check() {
    const auto pending = wait(all_, eventually_deadline).pending;
    EXPECT_TRUE(pending.empty()) << pending.size() << " tasks wait for ever";
    for (const auto& f : all_) {
      if (!f.ready()) {
        continue;
      }
      try {
        f.get();
      } catch (const cancelled_error&) {
      } catch (const std::exception& thrown) {
        // One that is cancelled between its attempts is not tried again.
        EXPECT_STREQ(thrown.what(), "again");
      }
    }
  }

  std::mt19937 random_;
  const bool in_two_pools_;
  std::array<thread_pool, 2> pools_{thread_pool{{.workers = 1 + less_than(4)}},
                                    thread_pool{{.workers = 1 + less_than(3)}}};
  futures all_;  // destroyed before the pools: as their owners, the last shares may be here
};

}  // namespace troupe::test
