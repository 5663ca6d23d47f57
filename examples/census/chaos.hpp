// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/pool.hpp"

#include "progress.hpp"

#include <atomic>
#include <cstdint>
#include <thread>

namespace census {

/// Kills a random worker with SIGKILL every 200 ms, from its construction to its destruction.
///
/// If no file was finished during ten kills, the time between kills doubles until one is: a file
/// that takes longer than a worker lives would never be counted otherwise.
class chaos {
 public:
  chaos(const troupe::pool& pool, const progress& work, std::uint64_t seed);

  [[nodiscard]] std::uint64_t kills() const { return kills_; }

 private:
  void run(std::stop_token stop, std::uint64_t seed);
  void kill_one(std::uint64_t random);

  const troupe::pool& pool_;
  const progress& work_;
  std::atomic<std::uint64_t> kills_ = 0;
  std::jthread thread_;  // last: ends before what it uses
};

}  // namespace census
