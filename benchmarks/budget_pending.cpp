// SPDX-License-Identifier: BSD-3-Clause

// Many tasks at once: what a pending one holds, what cancelling costs, and what a long one does to
// short ones.

#include "troupe/pool.hpp"

#include "budgets.hpp"

#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

namespace bench {
namespace {

using namespace std::chrono_literals;

int same(int x) {
  return x;
}

void wait_to_be_stopped() {
  while (!troupe::this_task::stop_token().stop_requested()) {
    std::this_thread::sleep_for(1ms);
  }
}

/// Callable and argument of `same`, as the pool keeps them until they are sent.
constexpr double encoded_call_bytes = 48;

double resident_bytes() {
  std::ifstream in{"/proc/self/statm"};
  double size = 0;
  double resident = 0;
  in >> size >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

troupe::future<void> occupy(troupe::pool& pool) {
  auto busy = pool.apply_async(wait_to_be_stopped);
  while (!busy.running()) {
    std::this_thread::yield();
  }
  return busy;
}

/// From submission to the result, of bursts of short tasks.
std::vector<double> short_tasks(troupe::pool& pool, int bursts) {
  constexpr int burst = 50;
  std::vector<double> taken;
  for (int round = 0; round < bursts; ++round) {
    std::vector<std::pair<clock::time_point, troupe::future<int>>> under_way;
    for (int i = 0; i < burst; ++i) {
      const auto begun = clock::now();
      under_way.emplace_back(begun, pool.apply_async(same, i));
    }
    for (const auto& [begun, result] : under_way) {
      result.wait();
      taken.push_back(seconds_since(begun));
    }
  }
  return taken;
}

}  // namespace

void pending(report& to) {
  {
    constexpr int tasks = 1'000'000;
    troupe::pool pool{{.workers = 1}};
    auto busy = occupy(pool);
    std::vector<troupe::future<int>> waiting;
    waiting.reserve(tasks);
    const double before = resident_bytes();
    for (int i = 0; i < tasks; ++i) {
      waiting.push_back(pool.apply_async(same, i));
    }
    to.add({"pending.bytes_each",
            unit::bytes,
            (resident_bytes() - before) / tasks - encoded_call_bytes,
            std::nullopt,
            {},
            ours_at_most(400),
            "1,000,000 futures with their handles, beyond the 48 bytes of each encoded call"});
    constexpr int cancelled = 100'000;
    const double taken = seconds_of([&] {
      for (int i = 0; i < cancelled; ++i) {
        waiting[static_cast<std::size_t>(i)].cancel();
      }
    });
    to.add({"pending.cancel_100k",
            unit::seconds,
            taken,
            std::nullopt,
            {},
            ours_at_most(0.1),
            "of 1,000,000 queued tasks"});
    pool.terminate();
    busy.cancel();
  }
  troupe::pool pool{{.workers = 2}};
  const int bursts = to.rounds(400);
  short_tasks(pool, bursts);
  const double alone = percentile_99(short_tasks(pool, bursts));
  auto busy = occupy(pool);
  const double beside = percentile_99(short_tasks(pool, bursts));
  busy.cancel();
  to.add({"pending.short_beside_long_p99", unit::seconds, beside, alone, "the same without",
          ours_at_most(alone + 1e-3),
          "bursts of 50 with a task that does not end; at most one window (1 ms) more"});
}

}  // namespace bench
