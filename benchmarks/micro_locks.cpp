// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/semaphore.hpp"
#include "troupe/value.hpp"

#include <benchmark/benchmark.h>

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <mutex>
#include <new>

namespace {

/// Memory for the peers, as the objects have it.
template <class T>
T& shared() {
  void* at = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return *new (at) T{};
}

void bare_robust_mutex(benchmark::State& state) {
  auto& mutex = shared<pthread_mutex_t>();
  pthread_mutexattr_t attributes;
  ::pthread_mutexattr_init(&attributes);
  ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutex_init(&mutex, &attributes);
  for (auto _ : state) {
    ::pthread_mutex_lock(&mutex);
    ::pthread_mutex_unlock(&mutex);
  }
}
BENCHMARK(bare_robust_mutex);

void mutex(benchmark::State& state) {
  troupe::mutex mutex;
  for (auto _ : state) {
    mutex.lock();
    mutex.unlock();
  }
}
BENCHMARK(mutex);

void recursive_mutex(benchmark::State& state) {
  troupe::recursive_mutex mutex;
  for (auto _ : state) {
    mutex.lock();
    mutex.unlock();
  }
}
BENCHMARK(recursive_mutex);

void value_add_under_its_lock(benchmark::State& state) {
  troupe::value<long> value;
  for (auto _ : state) {
    ++*value.lock();
  }
}
BENCHMARK(value_add_under_its_lock);

void value_fetch_add(benchmark::State& state) {
  troupe::value<long> value;
  for (auto _ : state) {
    value.fetch_add(1);
  }
}
BENCHMARK(value_fetch_add);

void semaphore(benchmark::State& state) {
  troupe::semaphore permits{1};
  for (auto _ : state) {
    permits.acquire();
    permits.release();
  }
}
BENCHMARK(semaphore);

void make_a_mutex(benchmark::State& state) {
  for (auto _ : state) {
    const troupe::mutex made;
    benchmark::DoNotOptimize(made.id());
  }
}
BENCHMARK(make_a_mutex);

/// A forked child that runs until it is killed.
template <class Body>
class other_process {
 public:
  explicit other_process(Body body) : pid_{::fork()} {
    if (pid_ == 0) {
      for (;;) {
        body();
      }
    }
  }
  ~other_process() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  other_process(const other_process&) = delete;
  other_process& operator=(const other_process&) = delete;

 private:
  pid_t pid_;
};

void value_add_with_another_process(benchmark::State& state) {
  troupe::value<long> value;
  const other_process adding{[&] { ++*value.lock(); }};
  for (auto _ : state) {
    ++*value.lock();
  }
}
BENCHMARK(value_add_with_another_process)->UseRealTime();

void mutex_with_another_process(benchmark::State& state) {
  troupe::mutex mutex;
  const other_process locking{[&] { const std::lock_guard lock{mutex}; }};
  for (auto _ : state) {
    const std::lock_guard lock{mutex};
  }
}
BENCHMARK(mutex_with_another_process)->UseRealTime();

void futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) {
  ::syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
}

struct ping_pong {
  std::atomic<std::uint32_t> ping{0};
  std::atomic<std::uint32_t> pong{0};
};

void wait_for(std::atomic<std::uint32_t>& word) {
  while (word.load() == 0) {
    futex(word, FUTEX_WAIT, 0);
  }
  word.store(0);
}
void set(std::atomic<std::uint32_t>& word) {
  word.store(1);
  futex(word, FUTEX_WAKE, INT_MAX);
}

void bare_futex_round_trip(benchmark::State& state) {
  auto& words = shared<ping_pong>();
  const other_process answering{[&] {
    wait_for(words.ping);
    set(words.pong);
  }};
  for (auto _ : state) {
    set(words.ping);
    wait_for(words.pong);
  }
}
BENCHMARK(bare_futex_round_trip)->UseRealTime();

void event_round_trip(benchmark::State& state) {
  troupe::event ping;
  troupe::event pong;
  const other_process answering{[&] {
    ping.wait();
    ping.clear();
    pong.set();
  }};
  for (auto _ : state) {
    ping.set();
    pong.wait();
    pong.clear();
  }
}
BENCHMARK(event_round_trip)->UseRealTime();

}  // namespace
