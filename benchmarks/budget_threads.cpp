// SPDX-License-Identifier: BSD-3-Clause

// What a task that does nothing costs on two threads, and through an executor on two processes.

#include "troupe/executor.hpp"

#include "budgets.hpp"
#include "library_peers.hpp"
#include "plain_child.hpp"

#include <array>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <ranges>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace bench {
namespace {

constexpr int workers = 2;

void nothing() {}
int same(int x) {
  return x;
}

/// What one writes in an hour: a mutex, a condition variable, a queue of packaged tasks.
class plain_pool {
 public:
  plain_pool() {
    for (int i = 0; i < workers; ++i) {
      threads_.emplace_back([this] { work(); });
    }
  }
  ~plain_pool() {
    {
      const std::lock_guard lock{mutex_};
      over_ = true;
    }
    moved_.notify_all();
  }
  plain_pool(const plain_pool&) = delete;
  plain_pool& operator=(const plain_pool&) = delete;

  template <class F>
  std::future<void> apply_async(F function) {
    std::packaged_task<void()> task{std::move(function)};
    auto answer = task.get_future();
    {
      const std::lock_guard lock{mutex_};
      queue_.push_back(std::move(task));
    }
    moved_.notify_one();
    return answer;
  }

 private:
  void work() {
    for (;;) {
      std::packaged_task<void()> task;
      {
        std::unique_lock lock{mutex_};
        moved_.wait(lock, [&] { return over_ || !queue_.empty(); });
        if (queue_.empty()) {
          return;
        }
        task = std::move(queue_.front());
        queue_.pop_front();
      }
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable moved_;
  std::deque<std::packaged_task<void()>> queue_;
  bool over_ = false;
  std::vector<std::jthread> threads_;  // last: joined before the rest goes
};

template <class Future, class Submit>
double rate(int tasks, Submit submit) {
  std::vector<Future> futures;
  futures.reserve(static_cast<std::size_t>(tasks));
  const double taken = seconds_of([&] {
    for (int i = 0; i < tasks; ++i) {
      futures.push_back(submit());
    }
    for (auto& one : futures) {
      one.get();
    }
  });
  return tasks / taken;
}

double map_rate(troupe::thread_pool& pool, int tasks) {
  std::vector<int> results;
  const double taken =
      seconds_of([&] { results = pool.map(same, std::views::iota(0, tasks), {.chunk = 1}); });
  for (int i = 0; i < tasks; ++i) {
    if (results[static_cast<std::size_t>(i)] != i) {
      throw std::runtime_error{"map gave a wrong result"};
    }
  }
  return tasks / taken;
}

}  // namespace

void thread_pool(report& to) {
  constexpr int tasks = 200'000;
  constexpr int python_tasks = 20'000;
  python_peer python;
  std::vector<double> submit;
  std::vector<double> plain;
  std::vector<double> asio;
  std::vector<double> asio_futures;
  std::vector<double> tbb;
  std::vector<double> map_one;
  std::vector<double> python_map;
  std::vector<double> python_submit;
  troupe::thread_pool pool{{.workers = workers}};
  plain_pool peer;
  for (int round = 0; round < to.rounds(9); ++round) {
    submit.push_back(rate<troupe::future<void>>(tasks, [&] { return pool.apply_async(nothing); }));
    plain.push_back(rate<std::future<void>>(tasks, [&] { return peer.apply_async(nothing); }));
    map_one.push_back(map_rate(pool, tasks));
    const std::array beside{std::pair{&asio, asio_rate(tasks, workers)},
                            std::pair{&asio_futures, asio_future_rate(tasks, workers)},
                            std::pair{&tbb, tbb_rate(tasks, workers)}};
    for (const auto& [samples, rate] : beside) {
      if (rate != 0) {
        samples->push_back(rate);
      }
    }
    if (python.there() && round < 3) {
      python_map.push_back(python_tasks / python.seconds("thread_map_one", python_tasks));
      python_submit.push_back(python_tasks / python.seconds("thread_apply_async", python_tasks));
    }
  }
  const auto named = [&](const char* what) { return python.there() ? what : "python3"; };
  to.add(row_of("thread_pool.submit_plain", unit::per_second, submit, plain,
                "mutex and condition variable", ratio_at_least(1 / 1.5)));
  to.add(row_of("thread_pool.submit_asio", unit::per_second, submit, asio_futures,
                "Boost.Asio's thread_pool", ratio_at_least(1), "a future each"));
  to.add(row_of("thread_pool.submit_asio_bare", unit::per_second, submit, asio,
                "Boost.Asio's thread_pool", no_budget, "a future each, against none"));
  to.add(row_of("thread_pool.submit_tbb", unit::per_second, submit, tbb, "oneTBB's task_group",
                no_budget, "a future each, against none"));
  to.add(row_of("thread_pool.submit", unit::per_second, submit, python_submit,
                named("ThreadPool.apply_async"), ratio_at_least(20)));
  to.add(row_of("thread_pool.map_chunk_1", unit::per_second, map_one, python_map,
                named("ThreadPool.map(chunksize=1)"), ratio_at_least(20)));
  to.add(row_of("thread_pool.submit_map", unit::per_second, submit, python_map,
                named("ThreadPool.map(chunksize=1)"), no_budget, "a future each, against none"));
}

void executor(report& to) {
  constexpr int tasks = 100'000;
  constexpr int python_tasks = 4'000;
  python_peer python;
  std::vector<double> submit;
  std::vector<double> python_submit;
  troupe::process_pool_executor pool{{.workers = workers}};
  for (int round = 0; round < to.rounds(7); ++round) {
    submit.push_back(rate<troupe::future<void>>(tasks, [&] { return pool.submit(nothing); }));
    if (python.there() && round < 3) {
      python_submit.push_back(python_tasks / python.seconds("submit", python_tasks));
    }
  }
  to.add(row_of("executor.submit", unit::per_second, submit, python_submit,
                python.there() ? "ProcessPoolExecutor.submit" : "python3", ratio_at_least(40)));
}

}  // namespace bench
