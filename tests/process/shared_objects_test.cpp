// SPDX-License-Identifier: BSD-3-Clause
// Shared objects between processes of every start method: handles cross at any time and by every
// way, and what a process holds when it dies goes to the others.
#include "troupe/array.hpp"
#include "troupe/barrier.hpp"
#include "troupe/condition.hpp"
#include "troupe/connection.hpp"
#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/semaphore.hpp"
#include "troupe/shared_memory.hpp"
#include "troupe/value.hpp"

#include "pool_fixture.hpp"
#include "support/unique_name.hpp"

#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

struct SharedObjects : every_start_method {
  template <class F, class... Args>
  [[nodiscard]] process start(F function, const Args&... arguments) const {
    process_options how;
    how.start = GetParam();
    process made{how, function, arguments...};
    made.start();
    return made;
  }
};
TROUPE_FOR_EVERY_START_METHOD(SharedObjects);

[[noreturn]] void die() {
  ::kill(::getpid(), SIGKILL);
  ::abort();
}

void bump(value<int> n, int times) {
  for (int i = 0; i < times; ++i) {
    const auto guard = n.lock();
    ++*guard;
  }
}

TEST_P(SharedObjects, CountsUnderALockAreExact) {
  value<int> n{0};
  process one = start(bump, n, 2000);
  process two = start(bump, n, 2000);
  bump(n, 1000);
  one.join();
  two.join();
  EXPECT_EQ(n.load(), 5000);
}

TEST_P(SharedObjects, AtomicCountsAreExact) {
  value<std::int64_t> n{0};
  const auto add = [](value<std::int64_t> to) {
    for (int i = 0; i < 5000; ++i) {
      to.fetch_add(1);
    }
  };
  process one = start(add, n);
  process two = start(add, n);
  one.join();
  two.join();
  EXPECT_EQ(n.load(), 10'000);
}

TEST_P(SharedObjects, AHolderThatDiesLeavesTheLockToTheNext) {
  mutex m;
  event has_it;
  process holder = start(
      [](mutex lock, event taken) {
        lock.lock();
        taken.set();
        die();
      },
      m, has_it);
  has_it.wait();
  {
    const std::scoped_lock lock{m};
    EXPECT_TRUE(m.inherited());
    m.recovered();
    EXPECT_FALSE(m.inherited());
  }
  holder.join();
  EXPECT_EQ(holder.exit_status(), exit_status{killed_by{SIGKILL}});
  EXPECT_TRUE(m.try_lock());
  EXPECT_FALSE(m.inherited());
  m.unlock();
}

TEST_P(SharedObjects, AGuardThatDiesSaysSoToTheNext) {
  value<int> n{1};
  process holder = start(
      [](value<int> shared) {
        const auto guard = shared.lock();
        *guard = 2;
        die();
      },
      n);
  holder.join();
  auto guard = n.lock();
  EXPECT_TRUE(guard.inherited());
  EXPECT_EQ(*guard, 2);
}

TEST_P(SharedObjects, PermitsOfTheDeadComeBack) {
  semaphore permits{2};
  value<int> taken;
  process holder = start(
      [](semaphore from, value<int> count) {
        from.acquire();
        from.acquire();
        count.store(2);
        die();
      },
      permits, taken);
  holder.join();
  EXPECT_EQ(taken.load(), 2);
  permits.acquire();
  permits.acquire();
  EXPECT_FALSE(permits.try_acquire());
  permits.release(2);
}

TEST_P(SharedObjects, AHandleGoesToAProcessStartedBeforeTheObject) {
  queue<mutex> locks;
  queue<int> answers;
  process early = start(
      [](queue<mutex> from, queue<int> to) {
        for (mutex m : from) {
          to.put(m.try_lock() ? 1 : 0);
        }
      },
      locks, answers);
  mutex held;
  held.lock();
  locks.put(held);
  EXPECT_EQ(answers.get(), 0);
  const mutex free_one;
  locks.put(free_one);
  EXPECT_EQ(answers.get(), 1);
  locks.close();
  early.join();
  held.unlock();
}

struct work_order {
  std::string name;
  value<int> counter;
  std::vector<event> steps;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(name, counter, steps);
  }
};

TEST_P(SharedObjects, HandlesCrossInsideOfStructs) {
  pool p{options()};
  work_order order{"count", value<int>{40}, {event{}, event{}}};
  const auto back = p.apply(
      [](work_order got) {
        got.counter.fetch_add(2);
        for (event& step : got.steps) {
          step.set();
        }
        return got;
      },
      order);
  EXPECT_EQ(order.counter.load(), 42);
  EXPECT_TRUE(order.steps[0].is_set());
  EXPECT_TRUE(order.steps[1].is_set());
  EXPECT_EQ(back.counter, order.counter) << "the same object came back";
}

TEST_P(SharedObjects, AResultMadeInAWorkerOutlivesIt) {
  value<int> made;
  {
    pool p{options(1)};
    made = p.apply([] {
      value<int> fresh{7};
      return fresh;
    });
  }
  EXPECT_EQ(made.load(), 7);
  made.store(8);
  EXPECT_EQ(made.load(), 8);
}

value<int> of_initializer;
TEST_P(SharedObjects, AnInitializerKeepsAHandle) {
  value<int> n{0};
  pool_options how = options(2);
  how.initializer = call([](value<int> shared) { of_initializer = shared; }, n);
  pool p{how};
  p.map([](int) { of_initializer.fetch_add(1); }, std::views::iota(0, 100));
  EXPECT_EQ(n.load(), 100);
}

TEST_P(SharedObjects, ArraysAreNegatedInPlace) {
  array<double> a{1.0, 2.0, 3.0};
  process p = start(
      [](array<double> shared) {
        auto all = shared.lock();
        for (double& x : all) {
          x = -x;
        }
      },
      a);
  p.join();
  EXPECT_EQ(a.to_vector(), (std::vector<double>{-1.0, -2.0, -3.0}));
}

TEST_P(SharedObjects, AQueueFeedsManyProcesses) {
  queue<int> in{16};
  queue<int> out;
  std::vector<process> all;
  for (int i = 0; i < 3; ++i) {
    all.push_back(start(
        [](queue<int> from, queue<int> to) {
          for (const int n : from) {
            to.put(n * n);
          }
        },
        in, out));
  }
  std::int64_t expected = 0;
  for (int n = 0; n < 500; ++n) {
    in.put(n);
    expected += std::int64_t{n} * n;
  }
  in.close();
  for (process& p : all) {
    p.join();
  }
  std::int64_t sum = 0;
  while (const auto n = out.try_get()) {
    sum += *n;
  }
  EXPECT_EQ(sum, expected);
}

TEST_P(SharedObjects, AnItemPutIsNotLostWithItsProducer) {
  queue<std::string> q;
  process producer = start(
      [](queue<std::string> to) {
        to.put(std::string(200'000, 'x'));  // more than any pipe holds
        to.put("last");
        die();
      },
      q);
  producer.join();  // which needs no consumer
  EXPECT_EQ(q.get().size(), 200'000U);
  EXPECT_EQ(q.get(), "last");
}

TEST_P(SharedObjects, JoinOfAQueueSurvivesAConsumerThatDies) {
  queue<int> q;
  q.put(1);
  q.put(2);
  process consumer = start(
      [](queue<int> from) {
        static_cast<void>(from.get());
        die();
      },
      q);
  consumer.join();
  static_cast<void>(q.get());
  q.task_done();
  q.join();
}

TEST_P(SharedObjects, ADeadWaiterDoesNotSwallowANotification) {
  mutex m;
  condition changed;
  value<int> waiting;
  value<int> woken;
  const auto wait_for_it = [](mutex lock, condition on, value<int> ready, value<int> done) {
    std::unique_lock held{lock};
    ready.fetch_add(1);
    on.wait(held);
    done.fetch_add(1);
  };
  process first = start(wait_for_it, m, changed, waiting, woken);
  ASSERT_TRUE(eventually([&] { return waiting.load() == 1; }));
  process second = start(wait_for_it, m, changed, waiting, woken);
  ASSERT_TRUE(eventually([&] { return waiting.load() == 2; }));
  {
    const std::scoped_lock both_wait{m};
  }
  first.kill();
  first.join();
  ASSERT_TRUE(eventually([&] {
    const std::scoped_lock lock{m};
    changed.notify_one();
    return woken.load() == 1;
  }));
  second.join();
  EXPECT_EQ(woken.load(), 1);
}

TEST_P(SharedObjects, ABarrierLetsAllGoTogether) {
  barrier together{3};
  value<int> arrived;
  const auto work = [](barrier all, value<int> count) {
    for (int round = 1; round <= 50; ++round) {
      count.fetch_add(1);
      all.arrive_and_wait();
      if (count.load() < 3 * round) {
        ::_exit(9);  // one went on alone
      }
      all.arrive_and_wait();
    }
  };
  process one = start(work, together, arrived);
  process two = start(work, together, arrived);
  for (int round = 1; round <= 50; ++round) {
    arrived.fetch_add(1);
    together.arrive_and_wait();
    EXPECT_EQ(arrived.load(), 3 * round);
    together.arrive_and_wait();
  }
  one.join();
  two.join();
  EXPECT_EQ(one.exit_status(), exit_status{exited{0}});
  EXPECT_EQ(two.exit_status(), exit_status{exited{0}});
}

TEST_P(SharedObjects, AConnectionCrossesAndCarriesHandles) {
  auto [here, there] = pipe();
  process p = start(
      [](connection c) {
        auto n = c.recv<value<int>>();
        n.fetch_add(1);
        c.send(std::string{"done"});
      },
      there);
  there.close();
  value<int> n{1};
  here.send(n);
  EXPECT_EQ(here.recv<std::string>(), "done");
  EXPECT_EQ(n.load(), 2);
  p.join();
  EXPECT_THROW(static_cast<void>(here.recv<int>()), end_of_stream);
}

TEST_P(SharedObjects, AreListedWithTheirHolders) {
  const value<int> n{0, {.name = "hits"}};
  const auto of_it = [&] {
    const auto all = detail::live_objects();
    const auto found = std::find_if(all.begin(), all.end(),
                                    [](const object_info& one) { return one.name == "hits"; });
    return found == all.end() ? object_info{} : *found;
  };
  EXPECT_EQ(of_it().kind, object_kind::value);
  EXPECT_EQ(of_it().holders, 1U);
  EXPECT_EQ(of_it().creator_pid, ::getpid());
  process p = start([](value<int> /*held*/, const std::string& gate) { wait_at(gate + "r", gate); },
                    n, file("gate"));
  EXPECT_TRUE(eventually([&] { return of_it().holders == 2; }));
  p.kill();
  p.join();
  EXPECT_EQ(of_it().holders, 1U) << "the dead one does not count";
}

TEST_P(SharedObjects, TheNameOfAKilledProcessGoes) {
  const std::string name = unique_name("killed");
  process p = start(
      [](const std::string& wanted, const std::string& made) {
        const shared_memory block{4096, {.name = wanted}};
        mark(made);
        die();
      },
      name, file("made"));
  p.join();
  EXPECT_EQ(marks(file("made")), 1U);
  EXPECT_TRUE(eventually([&] {
    const int found = ::shm_open(("/" + name).c_str(), O_RDONLY, 0);
    if (found >= 0) {
      ::close(found);
    }
    return found < 0;
  }));
}

TEST_P(SharedObjects, WaitersAreFreedWhenThePoolKillsTheHolder) {
  pool p{options(2)};
  mutex m;
  auto holder = p.with({.timeout = 50ms, .grace = 0ms})
                    .apply_async(
                        [](mutex lock) {
                          lock.lock();
                          for (;;) {
                            ::pause();
                          }
                        },
                        m);
  EXPECT_THROW(holder.get(), timeout_error);
  EXPECT_TRUE(p.apply(
      [](mutex lock) {
        const std::scoped_lock held{lock};
        return lock.inherited();
      },
      m));
}

}  // namespace
}  // namespace troupe::test
