// SPDX-License-Identifier: BSD-3-Clause
#include "chaos.hpp"

#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

namespace census {

using namespace std::chrono_literals;

chaos::chaos(const troupe::pool& pool, const progress& work, std::uint64_t seed)
    : pool_{pool},
      work_{work},
      thread_{[this, seed](std::stop_token stop) { run(std::move(stop), seed); }} {}

void chaos::run(std::stop_token stop, std::uint64_t seed) {
  constexpr auto shortest = 200ms;
  std::mt19937_64 random{seed};
  auto pause = shortest;
  std::uint64_t done_before = 0;
  int fruitless = 0;
  std::mutex mutex;
  std::condition_variable_any nobody_notifies;  // but the stop token
  std::unique_lock lock{mutex};
  while (!nobody_notifies.wait_for(lock, stop, pause, [&] { return stop.stop_requested(); })) {
    const std::uint64_t done = work_.files_ever_done();
    if (done != done_before) {
      done_before = done;
      fruitless = 0;
      pause = shortest;
    } else if (++fruitless >= 10) {
      fruitless = 0;
      pause *= 2;
    }
    kill_one(random());
  }
}

void chaos::kill_one(std::uint64_t random) {
  const std::vector<troupe::worker_info> workers = pool_.workers();
  if (workers.empty()) {
    return;
  }
  // A worker that died by itself a moment ago may be gone: then there is no process to kill.
  const auto victim = static_cast<pid_t>(workers[random % workers.size()].pid);
  if (::kill(victim, SIGKILL) == 0) {
    ++kills_;
  }
}

}  // namespace census
