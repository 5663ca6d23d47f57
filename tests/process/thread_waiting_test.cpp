// SPDX-License-Identifier: BSD-3-Clause
// Waiting in tasks of a thread pool for tasks of the same pool: every form of wait, in every place.
#include "troupe/wait.hpp"

#include "pool_fixture.hpp"
#include "random_waits.hpp"
#include "thread_fixture.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <latch>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

using namespace std::chrono_literals;

// Issue 11, 11.
struct ThreadWaiting : pool_test {
  using futures = std::vector<future<int>>;
  static futures squares_of(thread_pool& p, int n) {
    futures all;
    for (int i = 0; i < n; ++i) {
      all.push_back(p.apply_async(square, i));
    }
    return all;
  }
};

TEST_F(ThreadWaiting, EveryFormOfWaitInATaskRunsWhatIsAwaited) {
  using form = std::function<int(thread_pool&)>;
  const auto sum = [](const auto& values) {
    return std::accumulate(values.begin(), values.end(), 0);
  };
  const auto sum_of_futures = [](auto&& all) {
    int found = 0;
    for (const auto& f : all) {
      found += f.get();
    }
    return found;
  };
  // Each gives 0 + 1 + 4 + 9 with the only worker inside of it.
  const std::vector<std::pair<std::string, form>> forms{
      {"wait", [&](auto& p) { return sum_of_futures(troupe::wait(squares_of(p, 4)).done); }},
      {"wait with a time",
       [&](auto& p) {
         return sum_of_futures(troupe::wait(squares_of(p, 4), eventually_deadline).done);
       }},
      {"wait for the first, again and again",
       [&](auto& p) {
         int found = 0;
         for (auto left = squares_of(p, 4); !left.empty();) {
           auto [done, pending] = troupe::wait(left, return_when::first_completed);
           found += sum_of_futures(done);
           left = std::move(pending);
         }
         return found;
       }},
      {"as_completed", [&](auto& p) { return sum_of_futures(as_completed(squares_of(p, 4))); }},
      {"as_completed with a time",
       [&](auto& p) {
         return sum_of_futures(as_completed(squares_of(p, 4), eventually_deadline));
       }},
      {"when_all", [&](auto& p) { return sum(when_all(squares_of(p, 4)).get()); }},
      {"when_all of different types",
       [&](auto& p) {
         const auto [a, b] =
             when_all(p.apply_async(square, 2), p.apply_async([] { return 10L; })).get();
         return a + static_cast<int>(b);
       }},
      {"then",
       [&](auto& p) { return p.apply_async(square, 3).then([](int x) { return x + 5; }).get(); }},
      {"then that returns a future",
       [&](auto& p) {
         return p.apply_async(square, 3)
             .then([&](int) { return p.apply_async([] { return 14; }); })
             .get();
       }},
      {"then that waits",
       [&](auto& p) {
         return p.apply_async(square, 3)
             .then([&](int x) { return x + p.apply(square, 2) + 1; })
             .get();
       }},
      {"when_all of then",
       [&](auto& p) {
         futures all;
         for (const auto& f : squares_of(p, 4)) {
           all.push_back(f.then([](int x) { return x; }));
         }
         return sum(when_all(all).get());
       }},
      {"get_for",
       [&](auto& p) { return *p.apply_async([] { return 14; }).get_for(eventually_deadline); }},
      {"map", [&](auto& p) { return sum(p.map(square, std::views::iota(0, 4))); }},
      {"map_async",
       [&](auto& p) { return sum(p.map_async(square, std::views::iota(0, 4)).get()); }},
      {"imap with a time",
       [&](auto& p) {
         int found = 0;
         for (const int y :
              p.imap(square, std::views::iota(0, 4), {.timeout = eventually_deadline})) {
           found += y;
         }
         return found;
       }},
      {"imap_unordered with a time",
       [&](auto& p) {
         int found = 0;
         for (const int y :
              p.imap_unordered(square, std::views::iota(0, 4), {.timeout = eventually_deadline})) {
           found += y;
         }
         return found;
       }},
      {"a retried task",
       [&](auto& p) {
         auto tries = std::make_shared<std::atomic<int>>(0);
         return p
             .with({.retries = 2, .retry_if = [](const error&) { return true; }, .backoff = 1ms})
             .apply([tries] { return ++*tries < 3 ? throw std::runtime_error{"again"} : 14; });
       }},
  };
  for (const auto& [name, wait] : forms) {
    thread_pool p{{.workers = 1}};
    const auto f = p.apply_async([&, wait = wait] { return wait(p); });
    ASSERT_TRUE(f.wait_for(eventually_deadline)) << name << " hangs";
    EXPECT_EQ(f.get(), 14) << name;
  }
}

TEST_F(ThreadWaiting, ManyTasksThatWaitForTheirOwnByWhenAllAllEnd) {
  thread_pool p{{.workers = 2}};
  futures all;
  for (int i = 0; i < 300; ++i) {
    all.push_back(p.apply_async([&p] {
      const auto [x, y] = when_all(p.apply_async(square, 1), p.apply_async(square, 2)).get();
      return x + y;
    }));
  }
  ASSERT_TRUE(troupe::wait(all, eventually_deadline).pending.empty());
  for (const auto& f : all) {
    EXPECT_EQ(f.get(), 5);
  }
}

int fibonacci(thread_pool& p, int n) {
  if (n < 2) {
    return n;
  }
  const auto [a, b] = when_all(p.apply_async(fibonacci, std::ref(p), n - 1),
                               p.apply_async(fibonacci, std::ref(p), n - 2))
                          .get();
  return a + b;
}

TEST_F(ThreadWaiting, TasksThatWaitInTasksEndAtEverySize) {
  for (const int workers : {1, 2, 4}) {
    thread_pool p{{.workers = workers}};
    const auto f = p.apply_async(fibonacci, std::ref(p), 12);
    ASSERT_TRUE(f.wait_for(eventually_deadline)) << workers << " workers hang";
    EXPECT_EQ(f.get(), 144);
  }
}

TEST_F(ThreadWaiting, NoTaskIsBegunAboveOneThatItWaitsFor) {
  thread_gate gate;
  thread_gate waits;
  thread_pool p{{.workers = 2}};
  const auto first = p.apply_async([&] {
    gate.wait();
    return 1;
  });
  gate.wait_for_waiters(1);
  std::latch begun{1};
  const auto second = p.apply_async([&] {
    begun.count_down();
    return first.get() + 1;
  });
  begun.wait();
  const auto third = p.apply_async([&] { return second.get() + 1; });
  // A worker that takes any task while it waits has the time for it here.
  EXPECT_FALSE(third.wait_for(20ms));
  gate.open();
  ASSERT_TRUE(third.wait_for(eventually_deadline)) << "the third lies above the second";
  EXPECT_EQ(third.get(), 3);
}

TEST_F(ThreadWaiting, AWaitGoesOnAsSoonAsItsFutureIsDone) {
  thread_gate gate;
  thread_gate held;
  thread_pool p{{.workers = 2}};
  const auto awaited = p.apply_async([&] { gate.wait(); });
  gate.wait_for_waiters(1);
  std::latch begun{1};
  const auto waits = p.apply_async([&] {
    begun.count_down();
    awaited.get();
  });
  begun.wait();
  std::vector<future<void>> others;
  for (int i = 0; i < 2; ++i) {
    others.push_back(p.apply_async([&] { held.wait(); }));
  }
  EXPECT_FALSE(waits.wait_for(20ms));
  gate.open();
  const bool in_time = waits.wait_for(eventually_deadline);
  held.open();
  EXPECT_TRUE(in_time) << "it has to wait for a task that it did not wait for";
}

TEST_F(ThreadWaiting, ATaskThatWaitsForItselfIsToldSo) {
  for (const int workers : {1, 2}) {
    thread_pool p{{.workers = workers}};
    std::latch known{1};
    std::optional<future<int>> own;
    own = p.apply_async([&] {
      known.wait();
      const bool direct =
          static_cast<bool>(fails_with(errc::would_deadlock, [&] { return own->get(); }));
      const bool by_all = static_cast<bool>(fails_with(errc::would_deadlock, [&] {
        return when_all(futures{*own, p.apply_async(square, 2)}).get().front();
      }));
      const bool by_wait = static_cast<bool>(fails_with(errc::would_deadlock, [&] {
        return troupe::wait(futures{*own, p.apply_async(square, 2)}).done.size();
      }));
      // One of them ends: there is nothing to tell.
      const auto [done, pending] =
          troupe::wait(futures{*own, p.apply_async(square, 2)}, return_when::first_completed);
      return direct && by_all && by_wait && done.size() == 1 && pending.size() == 1 ? 1 : 0;
    });
    known.count_down();
    ASSERT_TRUE(own->wait_for(eventually_deadline));
    EXPECT_EQ(own->get(), 1);
  }
}

TEST_F(ThreadWaiting, TasksThatWaitForEachOtherAreToldSo) {
  thread_pool p{{.workers = 3}};
  std::latch known{1};
  std::latch begun{3};
  futures ring(3);
  for (std::size_t i = 0; i < 3; ++i) {
    ring[i] = p.apply_async([&, i] {
      begun.arrive_and_wait();
      known.wait();
      return ring[(i + 1) % 3].get();
    });
  }
  known.count_down();
  const auto [done, pending] = troupe::wait(ring, eventually_deadline);
  ASSERT_TRUE(pending.empty()) << "they wait for ever";
  for (const auto& f : ring) {
    EXPECT_TRUE(fails_with(errc::would_deadlock, [&] { return f.get(); }));
  }
}

TEST_F(ThreadWaiting, WhateverTheFormsOfTheirWaitsAndInOtherPoolsTheyAreToldSo) {
  using form = std::function<int(const future<int>&)>;
  const std::vector<std::pair<std::string, form>> forms{
      {"get", [](const auto& f) { return f.get(); }},
      {"when_all", [](const auto& f) { return when_all(futures{f}).get().front(); }},
      {"then", [](const auto& f) { return f.then([](int x) { return x; }).get(); }},
      {"wait", [](const auto& f) { return troupe::wait(futures{f}).done.front().get(); }},
      {"as_completed",
       [](const auto& f) {
         int found = 0;
         for (const auto& each : as_completed(futures{f})) {
           found = each.get();
         }
         return found;
       }},
  };
  for (const bool in_another_pool : {false, true}) {
    thread_pool p{{.workers = 2}};
    thread_pool q{{.workers = 2}};
    for (const auto& [first_name, first] : forms) {
      for (const auto& [second_name, second] : forms) {
        std::latch known{1};
        std::latch begun{2};
        futures both(2);
        both[0] = p.apply_async([&] {
          begun.arrive_and_wait();
          known.wait();
          return first(both[1]);
        });
        both[1] = (in_another_pool ? q : p).apply_async([&] {
          begun.arrive_and_wait();
          known.wait();
          return second(both[0]);
        });
        known.count_down();
        ASSERT_TRUE(troupe::wait(both, eventually_deadline).pending.empty())
            << first_name << " and " << second_name << (in_another_pool ? ", two pools" : "")
            << " wait for ever";
        for (const auto& f : both) {
          EXPECT_TRUE(fails_with(errc::would_deadlock, [&] { return f.get(); }));
        }
      }
    }
  }
}

TEST_F(ThreadWaiting, WaitingForTheFirstOfSeveralIsNoCircleAsLongAsOneMayEnd) {
  thread_gate gate;
  thread_pool p{{.workers = 3}};
  const auto free = p.apply_async([&] {
    gate.wait();
    return 1;
  });
  gate.wait_for_waiters(1);
  std::latch known{1};
  std::latch begun{2};
  futures both(2);
  both[0] = p.apply_async([&] {
    begun.arrive_and_wait();
    known.wait();
    const auto first =
        troupe::wait(futures{both[1], free}, return_when::first_completed).done.front();
    return first.get();
  });
  both[1] = p.apply_async([&] {
    begun.arrive_and_wait();
    known.wait();
    return both[0].get() + 1;
  });
  known.count_down();
  EXPECT_FALSE(both[1].wait_for(20ms));
  gate.open();
  ASSERT_TRUE(troupe::wait(both, eventually_deadline).pending.empty());
  EXPECT_EQ(both[0].get(), 1);
  EXPECT_EQ(both[1].get(), 2);
}

TEST_F(ThreadWaiting, WhatAnotherPoolNeedsIsRunWhenTheLastWorkerThatWouldTakeItLeaves) {
  thread_gate gate;
  thread_pool p{{.workers = 2}};
  thread_pool q{{.workers = 1}};
  const auto busy = p.apply_async([&] { gate.wait(); });
  gate.wait_for_waiters(1);
  std::latch waits{1};
  const auto f = p.apply_async([&] {
    return q
        .apply_async([&] {
          const auto needed = p.apply_async(square, 3);
          waits.count_down();
          return needed.get();
        })
        .get();
  });
  waits.wait();
  p.resize(1);
  EXPECT_FALSE(f.wait_for(20ms));
  gate.open();
  ASSERT_TRUE(f.wait_for(eventually_deadline)) << "no worker runs what the other pool waits for";
  EXPECT_EQ(f.get(), 9);
}

TEST_F(ThreadWaiting, WhatAFunctionOfThenReturnsIsRunAlsoIfAnotherPoolWaitsForIt) {
  thread_pool p{{.workers = 1}};
  thread_pool q{{.workers = 1}};
  const auto f = p.apply_async([&] {
    // The only worker of p waits for q, where a task waits for what only that worker can run.
    return q
        .apply_async([&] {
          return q.apply_async(square, 3)
              .then([&](int x) { return p.apply_async([x] { return x + 1; }); })
              .get();
        })
        .get();
  });
  ASSERT_TRUE(f.wait_for(eventually_deadline)) << "they wait for ever";
  EXPECT_EQ(f.get(), 10);
}

TEST_F(ThreadWaiting, WhatIsBoundToAWorkerThatWaitsIsNotRunAboveATaskThatItWaitsFor) {
  thread_gate gate;
  thread_pool p{{.workers = 2}};
  const auto elsewhere = p.apply_async([&] {
    gate.wait();
    return 1;
  });
  gate.wait_for_waiters(1);
  std::latch begun{1};
  const auto bound = p.with({.affinity = "a"}).apply_async([&] {
    begun.count_down();
    return elsewhere.get() + 1;
  });
  begun.wait();
  // Bound to the worker that runs `bound`, which waits.
  const auto next = p.with({.affinity = "a"}).apply_async([&] { return bound.get() + 1; });
  thread_pool q{{.workers = 1}};
  const auto f = q.apply_async([&] { return next.get() + 1; });
  EXPECT_FALSE(f.wait_for(20ms));
  gate.open();
  ASSERT_TRUE(f.wait_for(eventually_deadline)) << "one lies above a task that it waits for";
  EXPECT_EQ(f.get(), 4);
}

TEST_F(ThreadWaiting, WhatIsBoundToWorkersThatWaitForEachOthersTasksIsRun) {
  thread_pool p{{.workers = 2}};
  std::latch begun{2};
  futures both(2);
  for (const std::size_t i : {0U, 1U}) {
    both[i] = p.with({.affinity = std::to_string(i)}).apply_async([&, i] {
      begun.arrive_and_wait();
      return p.with({.affinity = std::to_string(1 - i)}).apply_async(square, 3).get();
    });
  }
  ASSERT_TRUE(troupe::wait(both, eventually_deadline).pending.empty()) << "they wait for ever";
  for (const auto& f : both) {
    EXPECT_EQ(f.get(), 9);
  }
}

TEST_F(ThreadWaiting, TasksThatWaitForEarlierOnesAtRandomAllEnd) {
  for (unsigned seed = 1; seed <= 6; ++seed) {
    random_waits::all_end(seed, seed % 2 == 0);
  }
}

// It waited on a condition of its own, of which the pool whose worker waits for it knew nothing.
TEST_F(ThreadWaiting, ATaskOfAnotherPoolMayWaitForRoomThatOnlyATaskWhichWaitsForItCanMake) {
  thread_pool a{{.workers = 1, .max_queued = 1}};
  thread_pool b{{.workers = 1}};
  std::atomic<bool> full{false};
  const auto outer = a.apply_async([&] {
    return b
        .apply_async([&] {
          full.wait(false);
          return a.apply(square, 3);
        })
        .get();
  });
  EXPECT_TRUE(eventually([&] { return b.stats().running == 1; }));
  const auto waits = a.apply_async(square, 2);
  full = true;
  full.notify_all();
  EXPECT_EQ(outer.get(), 9);
  EXPECT_EQ(waits.get(), 4);
}

TEST_F(ThreadWaiting, AnUnorderedMapInATaskLooksAtItsTimeLimit) {
  thread_gate gate;
  thread_pool p{{.workers = 2}};
  std::latch held{1};
  const auto f = p.apply_async([&, reader = std::thread::id{}]() mutable {
    reader = std::this_thread::get_id();
    const auto work = [&](int i) {
      if (std::this_thread::get_id() == reader) {
        held.wait();  // the other worker has one, too
      } else {
        held.count_down();
        gate.wait();
      }
      return i;
    };
    auto results =
        p.imap_unordered(work, std::views::iota(0, 8), {.chunk = 1, .window = 8, .timeout = 50ms});
    const std::shared_ptr<void> opens{nullptr, [&](void*) { gate.open(); }};
    try {
      for (const int y : results) {
        static_cast<void>(y);
      }
    } catch (const timeout_error&) {
      return true;
    }
    return false;
  });
  const bool in_time = f.wait_for(eventually_deadline);
  gate.open();
  ASSERT_TRUE(in_time) << "it waits without looking at its limit";
  EXPECT_TRUE(f.get());
}

TEST_F(ThreadWaiting, ATaskOfAnotherPoolMayWaitForOnesOfThisByEveryForm) {
  thread_pool a{{.workers = 1}};
  thread_pool b{{.workers = 1}};
  const auto f = a.apply_async([&] {
    return b
        .apply_async([&] {
          int found = a.apply_async(square, 1).get();
          found += when_all(squares_of(a, 3)).get().back();
          found += static_cast<int>(troupe::wait(squares_of(a, 3)).done.size());
          for (const auto& each : as_completed(squares_of(a, 3))) {
            found += each.get();
          }
          return found;
        })
        .get();
  });
  ASSERT_TRUE(f.wait_for(eventually_deadline));
  EXPECT_EQ(f.get(), 1 + 4 + 3 + 5);
}

}  // namespace
}  // namespace troupe::test
