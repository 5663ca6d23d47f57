// SPDX-License-Identifier: BSD-3-Clause

// What a future's shared state costs by itself. It is not public, hence the header from detail/.

#include "troupe/detail/future_state.hpp"

#include <benchmark/benchmark.h>

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <thread>

namespace {

class plain_state final : public troupe::detail::future_state {
 public:
  void set() { finish(nullptr); }
  void each_value(const std::function<void(std::span<const std::byte>)>&) const override {}
  bool cancel(bool) override { return false; }
  [[nodiscard]] bool running() const override { return false; }

 protected:
  [[nodiscard]] executor callbacks() const override {
    return [](const std::function<void()>& function) { function(); };
  }
};

void make_set_get(benchmark::State& state) {
  for (auto _ : state) {
    const auto made = std::make_shared<plain_state>();
    made->set();
    benchmark::DoNotOptimize(made->wait(std::nullopt));
  }
}

/// Set by another thread while this one waits: one wake-up.
void wait_for_other_thread(benchmark::State& state) {
  for (auto _ : state) {
    const auto made = std::make_shared<plain_state>();
    std::chrono::steady_clock::time_point set;
    std::thread other{[&] {
      std::this_thread::sleep_for(std::chrono::microseconds{200});
      set = std::chrono::steady_clock::now();
      made->set();
    }};
    made->wait(std::nullopt);
    const auto woken = std::chrono::steady_clock::now();
    other.join();
    state.SetIterationTime(std::chrono::duration<double>(woken - set).count());
  }
}

void call_back(benchmark::State& state) {
  int called = 0;
  for (auto _ : state) {
    const auto made = std::make_shared<plain_state>();
    made->when_done([&called](troupe::detail::future_state&) { ++called; });
    made->set();
  }
  benchmark::DoNotOptimize(called);
}

BENCHMARK(make_set_get);
BENCHMARK(wait_for_other_thread)->UseManualTime()->Iterations(500);
BENCHMARK(call_back);

}  // namespace
