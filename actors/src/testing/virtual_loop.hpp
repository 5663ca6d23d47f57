// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/coroutine/coroutine_clock.hpp"
#include "trees/children/tree_loop.hpp"
#include "trees/service/service_threads.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <utility>

namespace troupe::detail {

/// A loop in virtual time, which passes when nothing is left to be done at the present one. What falls
/// on the same time comes in an order drawn by lot.
///
/// @threads the one that made it, all members.
class virtual_loop : public tree_loop, public coroutine_clock {
 public:
  explicit virtual_loop(std::uint64_t seed);
  ~virtual_loop() override;

  bool post(std::function<void()> function) override;
  [[nodiscard]] steady_time now() const override { return now_; }
  std::uint64_t call_at(steady_time when, std::function<void()> function) override;
  void cancel(std::uint64_t timer) override;
  /// True while it runs something.
  [[nodiscard]] bool is_here() const override;
  [[nodiscard]] std::uint64_t seed() override { return seed_; }
  bool drive(const std::function<bool()>& over) override;
  void call_after(std::chrono::nanoseconds time, std::function<void()> function) const override;

  /// Runs what comes until then, or until `over`. False: nothing is left that would ever come.
  bool run(steady_time until, const std::function<bool()>& over);
  /// Drops what is left.
  void clear();

 protected:
  [[nodiscard]] std::unique_ptr<service_threads> make_services() override;

 private:
  void run_posted(const std::function<bool()>& over);

  const std::uint64_t seed_;
  const std::thread::id thread_ = std::this_thread::get_id();
  const std::shared_ptr<coroutine_thread> coroutines_ = std::make_shared<coroutine_thread>();
  steady_time now_{std::chrono::hours{1}};
  std::mt19937_64 lots_;
  std::deque<std::function<void()>> posted_;
  /// By time, then by lot.
  std::map<std::pair<steady_time, std::pair<std::uint64_t, std::uint64_t>>, std::function<void()>>
      timers_;
  std::uint64_t last_timer_ = 0;
  bool running_ = false;
};

}  // namespace troupe::detail
