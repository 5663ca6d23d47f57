// SPDX-License-Identifier: BSD-3-Clause
//
// Progress: reports of a running task, counters of a pool, and a bar (on stderr; on a
// terminal it moves).
//
// Prints:
//   rendered frame 120 of 120
//   1000 done, 0 failed

#include "troupe/troupe.hpp"

#include <chrono>
#include <iostream>
#include <ranges>
#include <thread>

using namespace std::chrono_literals;

void render(int frames) {
  for (int frame = 1; frame <= frames; ++frame) {
    std::this_thread::sleep_for(2ms);
    troupe::this_task::progress(static_cast<unsigned>(frame), static_cast<unsigned>(frames),
                                "rendered frame");
  }
}
int work(int x) {
  std::this_thread::sleep_for(1ms);
  return x;
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 4}};

  const auto film = pool.apply_async(render, 120);
  film.on_progress([](const troupe::task_progress& now) {
    // Few of the 120 reports are sent, the last one always is.
    if (now.done == now.total) {
      std::cout << now.text << ' ' << now.done << " of " << now.total << std::endl;
    }
  });
  film.wait();

  {
    const troupe::progress_bar bar{pool, {.total = 1000, .label = "work"}};
    pool.map(work, std::views::iota(0, 1000));
  }
  pool.close();
  pool.join();
  const troupe::pool_stats stats = pool.stats();
  std::cout << stats.succeeded - 1 << " done, " << stats.failed << " failed\n";
}
