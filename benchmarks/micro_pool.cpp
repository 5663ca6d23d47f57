// SPDX-License-Identifier: BSD-3-Clause

// Tasks through a pool with two workers.

#include "troupe/pool.hpp"

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstddef>
#include <ranges>
#include <string>
#include <vector>

namespace {

void nothing() {}
int same(int x) {
  return x;
}
std::string echo(std::string text) {
  return text;
}

void apply(benchmark::State& state) {
  troupe::pool pool{{.workers = static_cast<int>(state.range(0))}};
  for (auto _ : state) {
    pool.apply(nothing);
  }
}

void apply_echo(benchmark::State& state) {
  troupe::pool pool{{.workers = 1}};
  const std::string text(static_cast<std::size_t>(state.range(0)), 'e');
  for (auto _ : state) {
    benchmark::DoNotOptimize(pool.apply(echo, text));
  }
  state.SetBytesProcessed(2 * state.iterations() * state.range(0));
}

/// Only the submitter's side, per task: the waiting is not counted.
void submit(benchmark::State& state) {
  constexpr int batch = 1000;
  troupe::pool pool{{.workers = 2}};
  std::vector<troupe::future<void>> futures;
  futures.reserve(batch);
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < batch; ++i) {
      futures.push_back(pool.apply_async(nothing));
    }
    const auto end = std::chrono::steady_clock::now();
    for (const auto& one : futures) {
      one.wait();
    }
    futures.clear();
    state.SetIterationTime(std::chrono::duration<double>(end - begin).count() / batch);
  }
}

/// Per item, by chunk size; 0 adapts.
void map(benchmark::State& state) {
  constexpr int items = 50'000;
  troupe::pool pool{{.workers = 2}};
  for (auto _ : state) {
    benchmark::DoNotOptimize(pool.map(same, std::views::iota(0, items),
                                      {.chunk = static_cast<std::size_t>(state.range(0))}));
  }
  state.SetItemsProcessed(state.iterations() * items);
}

void imap_unordered(benchmark::State& state) {
  constexpr int items = 50'000;
  troupe::pool pool{{.workers = 2}};
  for (auto _ : state) {
    int sum = 0;
    for (const int value : pool.imap_unordered(same, std::views::iota(0, items))) {
      sum += value;
    }
    benchmark::DoNotOptimize(sum);
  }
  state.SetItemsProcessed(state.iterations() * items);
}

BENCHMARK(apply)->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK(apply_echo)->Arg(64)->Arg(32 << 10)->Arg(1 << 20)->UseRealTime();
BENCHMARK(submit)->UseManualTime()->Iterations(100);
BENCHMARK(map)->Arg(0)->Arg(1)->Arg(16)->Arg(256)->UseRealTime();
BENCHMARK(imap_unordered)->UseRealTime();

}  // namespace
