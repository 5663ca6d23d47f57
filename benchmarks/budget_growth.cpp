// SPDX-License-Identifier: BSD-3-Clause

// How costs grow: each operation at three sizes. A row has the cost of one unit at its size, beside
// that at the smallest size: the ratio is 1 where the whole grows with the size, and grows with the
// size itself where the whole grows with its square.

#include "troupe/pool.hpp"
#include "troupe/thread_pool.hpp"
#include "troupe/value.hpp"
#include "troupe/wait.hpp"

#include "budgets.hpp"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <ranges>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace bench {
namespace {

using namespace std::chrono_literals;

int same(int x) {
  return x;
}
int fail(int /*x*/) {
  throw std::runtime_error{"again"};
}
int short_task(int x) {
  std::this_thread::sleep_for(50us);
  return x;
}
void wait_to_be_stopped() {
  while (!troupe::this_task::stop_token().stop_requested()) {
    std::this_thread::sleep_for(1ms);
  }
}
int die(int /*x*/) {
  ::_exit(1);
}
std::atomic<int> asked{0};
bool always(const troupe::error& /*why*/) {
  ++asked;
  return true;
}

double resident_bytes() {
  std::ifstream in{"/proc/self/statm"};
  double size = 0;
  double resident = 0;
  in >> size >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

/// Rows of `cost(n)`, of one unit, at three sizes. `most`: what the ratio may be; a square would give
/// that of the sizes.
template <class Cost>
void grow(report& to, const std::string& name, unit is, const std::array<int, 3>& sizes,
          double most, const Cost& cost) {
  double at_first = 0;
  for (const int n : sizes) {
    const double each = cost(n);
    if (n == sizes.front()) {
      at_first = each;
    }
    to.add({name + "." + std::to_string(n), is, each, at_first, "the smallest size",
            ratio_at_most(most)});
  }
}

template <class Pool>
auto occupy(Pool& pool) {
  auto busy = pool.apply_async(wait_to_be_stopped);
  while (!busy.running()) {
    std::this_thread::yield();
  }
  return busy;
}

/// Seconds for each of n tasks whose deadlines pass together while they wait.
template <class Pool>
double expire(int n) {
  Pool pool{{.workers = 1}};
  auto busy = occupy(pool);
  std::vector<troupe::future<int>> waiting;
  const auto due = clock::now() + 2s;
  for (int i = 0; i < n; ++i) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(due - clock::now());
    waiting.push_back(pool.with({.deadline = std::max(left, 1ms)}).apply_async(same, i));
  }
  std::this_thread::sleep_until(due);
  const double taken = seconds_of([&] {
    for (const auto& one : waiting) {
      one.wait();
    }
  });
  busy.cancel();
  return taken / n;
}

/// Seconds for each of n cancels of tasks that wait for a retry.
template <class Pool>
double cancel_retries(int n) {
  Pool pool{{.workers = 1}};
  asked = 0;
  std::vector<troupe::future<int>> all;
  auto parked = pool.with({.retries = 1, .retry_if = always, .backoff = 1h});
  for (int i = 0; i < n; ++i) {
    all.push_back(parked.apply_async(fail, i));
  }
  while (asked < n) {
    std::this_thread::sleep_for(1ms);
  }
  return seconds_of([&] {
           for (auto& one : all) {
             one.cancel();
           }
         }) /
         n;
}

/// Bytes that each of n cancelled tasks leaves in the queue.
template <class Pool>
double cancelled_bytes(int n) {
  Pool pool{{.workers = 1, .max_queued = 10}};
  auto busy = occupy(pool);
  const double before = resident_bytes();
  for (int i = 0; i < n; ++i) {
    pool.apply_async(same, i).cancel();
  }
  const double after = resident_bytes();
  busy.cancel();
  return std::max(after - before, 0.0);
}

/// Seconds for each `then` of a chain, with its end.
template <class Pool>
double chain(int n) {
  Pool pool{{.workers = 1}};
  return seconds_of([&] {
           auto busy = occupy(pool);
           auto last = pool.apply_async(same, 1);
           for (int i = 0; i < n; ++i) {
             last = last.then(same);
           }
           busy.cancel();
           last.get();
         }) /
         n;
}

/// Bytes that n affinity keys, each used once, leave in the pool.
template <class Pool>
double affinity_bytes(int n) {
  Pool pool{{.workers = 2}};
  constexpr int at_once = 1'000;
  std::vector<troupe::future<int>> some;
  double before = 0;
  for (int i = 0; i < n + at_once; ++i) {  // the first ones also get the memory that all use
    some.push_back(pool.with({.affinity = std::to_string(i)}).apply_async(same, i));
    if (some.size() == at_once) {
      for (const auto& one : some) {
        one.wait();
      }
      some.clear();
      before = before == 0 ? resident_bytes() : before;
    }
  }
  return std::max(resident_bytes() - before, 0.0);
}

/// Threads that n pools leave which have ended, while a future of each is kept.
template <class Pool>
double kept_threads(int n) {
  const auto threads = [] {
    return std::distance(std::filesystem::directory_iterator{"/proc/self/task"}, {});
  };
  const auto before = threads();
  std::vector<troupe::future<int>> kept;
  for (int i = 0; i < n; ++i) {
    Pool pool{{.workers = 1}};
    kept.push_back(pool.apply_async(same, i));
    kept.back().on_result([](int) {});
    kept.back().wait();
  }
  return static_cast<double>(threads() - before);
}

/// What the calling thread computes in `work()`: without how long others take to wake it.
template <class Work>
double thread_seconds_of(const Work& work) {
  const auto now = [] {
    timespec at{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return static_cast<double>(at.tv_sec) + static_cast<double>(at.tv_nsec) * 1e-9;
  };
  const double begin = now();
  work();
  return now() - begin;
}

/// Seconds that a task computes for each of n futures of another pool, which it takes in the order in
/// which they end; each ends when the one before it was taken.
template <class Follow>
double completed_in_a_task(int n, const Follow& follow) {
  troupe::thread_pool waits{{.workers = 1}};
  troupe::thread_pool others{{.workers = 1}};
  std::counting_semaphore<> next{1};
  return waits.apply([&] {
    using future = decltype(follow(others.apply_async([] { return 1; })));
    std::vector<future> all;
    for (int i = 0; i < n; ++i) {
      all.push_back(follow(others.apply_async([&next] {
        next.acquire();
        return 1;
      })));
    }
    return thread_seconds_of([&] {
             for (const auto& one : troupe::as_completed(std::move(all))) {
               static_cast<void>(one);
               next.release();
             }
           }) /
           n;
  });
}

double completed(int n) {
  return completed_in_a_task(n, [](auto f) { return f; });
}
double completed_then(int n) {
  return completed_in_a_task(n, [](const auto& f) { return f.then(same); });
}
double completed_then_future(int n) {
  troupe::thread_pool third{{.workers = 1}};
  return completed_in_a_task(
      n, [&](const auto& f) { return f.then([&](int x) { return third.apply_async(same, x); }); });
}
double completed_in_a_callback(int n) {
  troupe::thread_pool p{{.workers = 1}};
  troupe::thread_pool others{{.workers = 1}};
  std::counting_semaphore<> next{1};
  std::vector<troupe::future<void>> all;
  for (int i = 0; i < n; ++i) {
    all.push_back(others.apply_async([&next] { next.acquire(); }));
  }
  return p.apply_async(same, 1)
      .then([&](int) {
        return thread_seconds_of([&] {
                 for (const auto& one : troupe::as_completed(std::move(all))) {
                   static_cast<void>(one);
                   next.release();
                 }
               }) /
               n;
      })
      .get();
}

/// Rows of what is left of n things at three sizes, of which `most` may be left in all.
template <class Left>
void stay(report& to, const std::string& name, unit is, const std::array<int, 3>& sizes,
          double most, const std::string& note, const Left& left) {
  for (const int n : sizes) {
    to.add(
        {name + "." + std::to_string(n), is, left(n), std::nullopt, {}, ours_at_most(most), note});
  }
}

/// Seconds for each item of a map that enters beside submitters of single tasks.
template <class Pool>
double map_beside_others(int n) {
  Pool pool{{.workers = 1, .max_queued = 64}};
  std::atomic<bool> stop{false};
  const auto submit = [&] {
    while (!stop) {
      static_cast<void>(pool.apply_async(short_task, 1));
    }
  };
  std::jthread one{submit};
  std::jthread other{submit};
  const double taken = seconds_of([&] { pool.map_async(same, std::views::iota(0, n)).wait(); });
  stop = true;
  return taken / n;
}

/// Seconds from a worker's death to the error of its task, the median of several.
double death(troupe::pool& pool, report& to) {
  std::vector<double> told;
  for (int i = to.rounds(24); i > 0; --i) {
    told.push_back(seconds_of([&] { pool.apply_async(die, 1).wait(); }));
  }
  return median(told);
}

int keep(const std::vector<troupe::value<int>>& what) {
  static std::vector<std::vector<troupe::value<int>>> kept;
  kept.push_back(what);
  return static_cast<int>(kept.size());
}

/// What a death costs beside objects of the program and of workers that live.
void deaths_beside_objects(report& to) {
  constexpr int at_once = 50;
  constexpr troupe::restart_policy many{.intensity = 100'000};
  troupe::pool dying{{.workers = 1, .restart = many}};
  troupe::pool holding{{.workers = 4}};
  const double alone = death(dying, to);
  std::vector<troupe::value<int>> objects;
  for (const int n : {100, 400, 2'000}) {
    while (static_cast<int>(objects.size()) < n) {
      std::vector<troupe::value<int>> some;
      for (int i = 0; i < at_once; ++i) {
        some.emplace_back(i);
      }
      std::vector<troupe::future<int>> all;
      for (int i = 0; i < 4; ++i) {
        all.push_back(holding.apply_async(keep, some));
      }
      for (const auto& one : all) {
        one.wait();
      }
      objects.insert(objects.end(), some.begin(), some.end());
    }
    to.add({"growth.death_objects." + std::to_string(n), unit::seconds, death(dying, to), alone,
            "without objects", ours_at_most(alone + 1e-3), "1 ms more at most"});
  }
}

/// The same beside files of other programs in the folder of shared memory.
void deaths_beside_files(report& to) {
  constexpr troupe::restart_policy many{.intensity = 100'000};
  troupe::pool dying{{.workers = 1, .restart = many}};
  const double alone = death(dying, to);
  const std::string prefix = "/dev/shm/troupe-budgets-" + std::to_string(::getpid()) + "-";
  int files = 0;
  for (const int n : {1'000, 5'000, 20'000}) {
    for (; files < n; ++files) {
      const std::string name = prefix + std::to_string(files);
      ::close(::open(name.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    }
    to.add({"growth.death_files." + std::to_string(n), unit::seconds, death(dying, to), alone,
            "without files", ours_at_most(alone + 1e-3), "1 ms more at most"});
  }
  for (int i = 0; i < files; ++i) {
    ::unlink((prefix + std::to_string(i)).c_str());
  }
}

}  // namespace

void growth(report& to) {
  // Constant costs hide in the smallest size, so a ratio below 4 is none of a square: that is 16.
  constexpr double linear = 4;
  constexpr std::array sizes{2'000, 8'000, 32'000};
  grow(to, "growth.deadlines", unit::seconds, sizes, linear, &expire<troupe::pool>);
  grow(to, "growth.deadlines_threads", unit::seconds, sizes, linear, &expire<troupe::thread_pool>);
  grow(to, "growth.cancel_retries", unit::seconds, sizes, linear, &cancel_retries<troupe::pool>);
  grow(to, "growth.cancel_retries_threads", unit::seconds, sizes, linear,
       &cancel_retries<troupe::thread_pool>);
  grow(to, "growth.then", unit::seconds, sizes, linear, &chain<troupe::pool>);
  grow(to, "growth.then_threads", unit::seconds, sizes, linear, &chain<troupe::thread_pool>);
  grow(to, "growth.completed_in_task", unit::seconds, sizes, linear, &completed);
  grow(to, "growth.completed_then_in_task", unit::seconds, sizes, linear, &completed_then);
  grow(to, "growth.completed_follow_in_task", unit::seconds, sizes, linear, &completed_then_future);
  grow(to, "growth.completed_in_callback", unit::seconds, sizes, linear, &completed_in_a_callback);
  constexpr std::array many{10'000, 40'000, 160'000};
  constexpr double some_mib = 4 << 20;
  stay(to, "growth.cancelled", unit::bytes, many, some_mib, "left of all, max_queued = 10",
       &cancelled_bytes<troupe::pool>);
  stay(to, "growth.cancelled_threads", unit::bytes, many, some_mib, "left of all, max_queued = 10",
       &cancelled_bytes<troupe::thread_pool>);
  stay(to, "growth.affinity", unit::bytes, many, some_mib, "left of all keys",
       &affinity_bytes<troupe::pool>);
  stay(to, "growth.affinity_threads", unit::bytes, many, some_mib, "left of all keys",
       &affinity_bytes<troupe::thread_pool>);
  constexpr std::array pools{10, 40, 160};
  constexpr double few = 4;
  stay(to, "growth.kept_futures", unit::count, pools, few, "threads left",
       &kept_threads<troupe::pool>);
  stay(to, "growth.kept_futures_threads", unit::count, pools, few, "threads left",
       &kept_threads<troupe::thread_pool>);
  constexpr std::array items{500, 2'000, 8'000};
  grow(to, "growth.map_beside_singles", unit::seconds, items, linear,
       &map_beside_others<troupe::pool>);
  grow(to, "growth.map_beside_singles_threads", unit::seconds, items, linear,
       &map_beside_others<troupe::thread_pool>);
  deaths_beside_objects(to);
  deaths_beside_files(to);
}

}  // namespace bench
