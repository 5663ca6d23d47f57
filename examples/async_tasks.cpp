// SPDX-License-Identifier: BSD-3-Clause
//
// Fifteen tasks that each await half a second, at the same time on two worker processes: a task may
// be a coroutine, and while it waits, its worker runs others, here up to eight at once. One can be
// cancelled without harm to its neighbours, and this program's own coroutines await results.
//
// Prints:
//   15 tasks on 2 workers: 15 had begun before the first one ended
//   one was cancelled, its neighbour says: done
//   awaited: 1 4 9

#include "troupe/pool.hpp"
#include "troupe/task.hpp"

#include <algorithm>
#include <asio/io_context.hpp>
#include <chrono>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using nanoseconds = std::chrono::steady_clock::duration;

nanoseconds now() {  // the same clock in all processes of a machine
  return std::chrono::steady_clock::now().time_since_epoch();
}

troupe::task<std::pair<nanoseconds, nanoseconds>> half_a_second(int /*number*/) {
  const nanoseconds began = now();
  co_await troupe::sleep_for(500ms);
  co_return std::pair{began, now()};
}

troupe::task<std::string> say(std::string what, std::chrono::milliseconds after) {
  co_await troupe::sleep_for(after);
  co_return what;
}

int square(int x) {
  return x * x;
}

troupe::task<void> print_squares(troupe::pool& pool) {
  std::cout << "awaited:";
  for (int x = 1; x <= 3; ++x) {
    const int y = co_await troupe::as_awaitable(pool.apply_async(square, x));
    std::cout << ' ' << y;
  }
  std::cout << '\n';
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 2, .concurrency = 8}};

  const auto all = pool.map(half_a_second, std::vector<int>(15));
  const nanoseconds first_end =
      std::ranges::min(all, {}, [](auto& one) { return one.second; }).second;
  const auto together =
      std::ranges::count_if(all, [=](auto& one) { return one.first < first_end; });
  std::cout << "15 tasks on 2 workers: " << together << " had begun before the first one ended\n";

  auto neighbour = pool.apply_async(say, "done", 50ms);
  auto endless = pool.apply_async(say, "never", 1h);
  endless.cancel();
  endless.wait();
  std::cout << "one was " << (endless.cancelled() ? "cancelled" : "left")
            << ", its neighbour says: " << neighbour.get() << '\n';

  asio::io_context loop;
  asio::co_spawn(loop, print_squares(pool), [](std::exception_ptr) {});
  loop.run();
}
