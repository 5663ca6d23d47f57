// SPDX-License-Identifier: BSD-3-Clause

// How many tasks that do nothing go through two workers in a second.

#include "troupe/codec.hpp"
#include "troupe/pool.hpp"

#include "budgets.hpp"
#include "plain_child.hpp"

#include <ranges>
#include <stdexcept>

namespace bench {
namespace {

constexpr int workers = 2;

void nothing() {}
int same(int x) {
  return x;
}

/// Keeps the compiler from seeing through a serial loop.
template <class T>
void keep(T& value) {
  asm volatile("" : : "g"(&value) : "memory");  // NOLINT(hicpp-no-assembler)
}

double apply_async_rate(troupe::pool& pool, int tasks) {
  std::vector<troupe::future<void>> futures;
  futures.reserve(static_cast<std::size_t>(tasks));
  const double taken = seconds_of([&] {
    for (int i = 0; i < tasks; ++i) {
      futures.push_back(pool.apply_async(nothing));
    }
    for (const auto& one : futures) {
      one.get();
    }
  });
  return tasks / taken;
}

double map_rate(troupe::pool& pool, int tasks, std::size_t chunk) {
  std::vector<int> results;
  const double taken =
      seconds_of([&] { results = pool.map(same, std::views::iota(0, tasks), {.chunk = chunk}); });
  for (int i = 0; i < tasks; ++i) {
    if (results[static_cast<std::size_t>(i)] != i) {
      throw std::runtime_error{"map gave a wrong result"};
    }
  }
  return tasks / taken;
}

/// The work of a map without the processes: each argument and each result is encoded and decoded.
double serial_rate(int tasks) {
  std::vector<int> results;
  const double taken = seconds_of([&] {
    results.reserve(static_cast<std::size_t>(tasks));
    for (int i = 0; i < tasks; ++i) {
      auto argument = troupe::encode(i);
      keep(argument);
      auto result = troupe::encode(same(troupe::decode<int>(argument)));
      keep(result);
      results.push_back(troupe::decode<int>(result));
    }
    keep(results);
  });
  return tasks / taken;
}

/// The same with one buffer for all: the least that encoding can cost.
double serial_reused_rate(int tasks) {
  std::vector<int> results;
  const double taken = seconds_of([&] {
    results.reserve(static_cast<std::size_t>(tasks));
    troupe::detail::byte_buffer buffer;
    for (int i = 0; i < tasks; ++i) {
      buffer.clear();
      troupe::encode(buffer, i);
      keep(buffer);
      const int result = same(troupe::decode<int>(buffer.bytes()));
      buffer.clear();
      troupe::encode(buffer, result);
      keep(buffer);
      results.push_back(troupe::decode<int>(buffer.bytes()));
    }
    keep(results);
  });
  return tasks / taken;
}

}  // namespace

void throughput(report& to) {
  constexpr int tasks = 100'000;
  constexpr int python_tasks = 20'000;
  constexpr int executor_tasks = 4'000;
  python_peer python;
  std::vector<double> apply_async;
  std::vector<double> map_one;
  std::vector<double> python_apply_async;
  std::vector<double> python_map;
  std::vector<double> python_submit;
  {
    troupe::pool pool{{.workers = workers}};
    apply_async_rate(pool, tasks / 10);
    map_rate(pool, tasks / 10, 1);
    for (int round = 0; round < to.rounds(7); ++round) {
      apply_async.push_back(apply_async_rate(pool, tasks));
      map_one.push_back(map_rate(pool, tasks, 1));
      if (python.there() && round < 3) {
        python_apply_async.push_back(python_tasks / python.seconds("apply_async", python_tasks));
        python_map.push_back(python_tasks / python.seconds("map_one", python_tasks));
        python_submit.push_back(executor_tasks / python.seconds("submit", executor_tasks));
      }
    }
  }
  const auto named = [&](const char* what) { return python.there() ? what : "python3"; };
  to.add(row_of("throughput.apply_async", unit::per_second, apply_async, python_apply_async,
                named("Pool.apply_async"), ratio_at_least(20)));
  to.add(row_of("throughput.map_chunk_1", unit::per_second, map_one, python_map,
                named("Pool.map(chunksize=1)"), ratio_at_least(20)));
  to.add(row_of("throughput.apply_async_executor", unit::per_second, apply_async, python_submit,
                named("ProcessPoolExecutor.submit"), no_budget));
}

void adaptive_map(report& to) {
  constexpr int tasks = 500'000;
  std::vector<double> ours;
  std::vector<double> serial;
  std::vector<double> reused;
  troupe::pool pool{{.workers = workers}};
  map_rate(pool, tasks, 0);
  for (int round = 0; round < to.rounds(9); ++round) {
    ours.push_back(map_rate(pool, tasks, 0));
    serial.push_back(serial_rate(tasks));
    reused.push_back(serial_reused_rate(tasks));
  }
  to.add(row_of("adaptive_map.rate", unit::per_second, ours, serial, "serial encode and decode",
                ratio_at_least(0.5), "int to int"));
  to.add(row_of("adaptive_map.rate_one_buffer", unit::per_second, ours, reused,
                "the same in one buffer", no_budget));
  python_peer python;
  if (python.there()) {
    to.add({"adaptive_map.rate_python",
            unit::per_second,
            median(ours),
            tasks / python.seconds("map_default", tasks),
            "Pool.map",
            no_budget,
            {}});
  }
}

}  // namespace bench
