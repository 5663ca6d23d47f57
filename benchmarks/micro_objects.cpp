// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/array.hpp"
#include "troupe/event.hpp"
#include "troupe/queue.hpp"
#include "troupe/value.hpp"

#include <benchmark/benchmark.h>

#include <array>
#include <string>
#include <vector>

namespace {

void value_load(benchmark::State& state) {
  const troupe::value<long> value{7};
  for (auto _ : state) {
    benchmark::DoNotOptimize(value.load());
  }
}
BENCHMARK(value_load);

void value_store(benchmark::State& state) {
  troupe::value<long> value;
  for (auto _ : state) {
    value.store(7);
  }
}
BENCHMARK(value_store);

using large = std::array<long, 16>;

void value_load_under_its_lock(benchmark::State& state) {
  const troupe::value<large> value;
  for (auto _ : state) {
    benchmark::DoNotOptimize(value.load());
  }
}
BENCHMARK(value_load_under_its_lock);

void value_store_under_its_lock(benchmark::State& state) {
  troupe::value<large> value;
  const large stored{};
  for (auto _ : state) {
    value.store(stored);
  }
}
BENCHMARK(value_store_under_its_lock);

void array_add_under_its_lock(benchmark::State& state) {
  troupe::array<long> elements{1, 2, 3};
  for (auto _ : state) {
    ++elements.lock()[1];
  }
}
BENCHMARK(array_add_under_its_lock);

void event_is_set(benchmark::State& state) {
  const troupe::event flag;
  for (auto _ : state) {
    benchmark::DoNotOptimize(flag.is_set());
  }
}
BENCHMARK(event_is_set);

void event_set_and_clear(benchmark::State& state) {
  troupe::event flag;
  for (auto _ : state) {
    flag.set();
    flag.clear();
  }
}
BENCHMARK(event_set_and_clear);

void queue_put_and_get(benchmark::State& state) {
  troupe::queue<long> items;
  for (auto _ : state) {
    items.put(7);
    benchmark::DoNotOptimize(items.get());
  }
}
BENCHMARK(queue_put_and_get);

void queue_put_and_get_of_a_kilobyte(benchmark::State& state) {
  troupe::queue<std::string> items;
  const std::string item(1024, 'x');
  for (auto _ : state) {
    items.put(item);
    benchmark::DoNotOptimize(items.get());
  }
}
BENCHMARK(queue_put_and_get_of_a_kilobyte);

}  // namespace
