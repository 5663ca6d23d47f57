// SPDX-License-Identifier: BSD-3-Clause
//
// Tasks that do their worst: each one fails alone, and the pool goes on. (The log is on stderr.)
//
// Prints:
//   crashes: worker_lost, SIGABRT (signal 6)
//   exits with 0: worker_lost, exit code 0
//   loops for ever: timeout
//   leaks: no worker held more than 5 MiB of the 20
//   neighbours of a crash: 0
//   neighbours of a crash: 1
//   neighbours of a crash: 4
//   neighbours of a crash: worker_lost, SIGABRT (signal 6)
//   neighbours of a crash: 16
//   neighbours of a crash: 25
//   and the pool goes on: 49

#include "troupe/pool.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <iostream>
#include <ranges>
#include <vector>

using namespace std::chrono_literals;

/// How many MiB this process has leaked so far.
std::size_t leak(int /*task*/) {
  static std::vector<std::vector<std::byte>> never_freed;
  never_freed.emplace_back(1 << 20);
  return never_freed.size();
}
void loop() {
  for (volatile bool on = true; on;) {
  }
}
int square(int x) {
  if (x == 3) {
    std::abort();
  }
  return x * x;
}

template <class Call>
void show(const char* name, Call call) {
  std::cout << name << ": ";
  try {
    call();
  } catch (const troupe::worker_lost& lost) {
    std::cout << "worker_lost, " << lost.reason() << '\n';
  } catch (const troupe::error& error) {
    std::cout << to_string(error.code()) << '\n';
  }
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 2, .max_tasks_per_worker = 5}};
  show("crashes", [&] { pool.apply([] { std::abort(); }); });
  show("exits with 0", [&] { pool.apply([] { std::exit(0); }); });
  show("loops for ever", [&] { pool.with({.timeout = 100ms, .grace = 100ms}).apply(loop); });

  const auto leaked = pool.map(leak, std::views::iota(0, 20));
  std::cout << "leaks: no worker held more than " << std::ranges::max(leaked) << " MiB of the 20\n";

  std::vector<troupe::future<int>> squares;
  for (int x = 0; x < 6; ++x) {
    squares.push_back(pool.apply_async(square, x));
  }
  for (int x = 0; x < 6; ++x) {
    show("neighbours of a crash",
         [&] { std::cout << squares[static_cast<std::size_t>(x)].get() << '\n'; });
  }
  std::cout << "and the pool goes on: " << pool.apply(square, 7) << '\n';
}
