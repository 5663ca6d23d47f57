// SPDX-License-Identifier: BSD-3-Clause
// A signal whose handler returns ends no wait and changes no outcome.
#include "troupe/barrier.hpp"
#include "troupe/condition.hpp"
#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/queue.hpp"
#include "troupe/semaphore.hpp"

#include "runtime/shared/shared_fixture.hpp"

#include <gtest/gtest.h>

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

namespace troupe {
namespace {

std::atomic<int> handled{0};

class SignalsInWaits : public test::shared_objects {
 protected:
  void SetUp() override {
    handled = 0;
    struct sigaction action{};
    action.sa_handler = [](int) { ++handled; };  // without SA_RESTART
    ::sigaction(SIGUSR1, &action, &before_);
  }
  void TearDown() override { ::sigaction(SIGUSR1, &before_, nullptr); }

  /// Runs `wait` in a thread that gets a hundred signals before `let_go` ends the wait.
  static void hundred_signals(const std::function<void()>& wait, const std::function<bool()>& waits,
                              const std::function<void()>& let_go) {
    std::atomic<bool> over{false};
    std::thread waiter{[&] {
      wait();
      over = true;
    }};
    EXPECT_TRUE(test::eventually(waits));
    for (int i = 0; i < 100; ++i) {
      const int so_far = handled;
      ::pthread_kill(waiter.native_handle(), SIGUSR1);
      EXPECT_TRUE(test::eventually([&] { return handled > so_far; }));
      EXPECT_FALSE(over);
    }
    let_go();
    waiter.join();
  }

 private:
  struct sigaction before_{};
};

TEST_F(SignalsInWaits, OfAMutex) {
  mutex m;
  m.lock();
  std::atomic<bool> there{false};
  hundred_signals(
      [&] {
        there = true;
        const std::scoped_lock lock{m};
      },
      [&] { return there.load(); }, [&] { m.unlock(); });
}

TEST_F(SignalsInWaits, OfASemaphore) {
  semaphore s{0};
  hundred_signals([&] { s.acquire(); }, [&] { return info_of(s.id()).waiters == 1; },
                  [&] { s.release(); });
  EXPECT_FALSE(s.try_acquire());
}

TEST_F(SignalsInWaits, OfAnEvent) {
  event e;
  hundred_signals([&] { e.wait(); }, [&] { return info_of(e.id()).waiters == 1; },
                  [&] { e.set(); });
}

TEST_F(SignalsInWaits, OfACondition) {
  mutex m;
  condition c;
  hundred_signals(
      [&] {
        std::unique_lock lock{m};
        c.wait(lock);
      },
      [&] { return info_of(c.id()).waiters == 1; },
      [&] {
        const std::scoped_lock lock{m};
        c.notify_one();
      });
}

TEST_F(SignalsInWaits, OfABarrier) {
  barrier b{2};
  hundred_signals([&] { b.arrive_and_wait(); }, [&] { return info_of(b.id()).waiters == 1; },
                  [&] { b.arrive_and_wait(); });
}

TEST_F(SignalsInWaits, OfAQueue) {
  queue<int> q{1};
  hundred_signals([&] { EXPECT_EQ(q.get(), 5); }, [] { return true; }, [&] { q.put(5); });
  q.put(6);
  hundred_signals([&] { q.put(7); }, [] { return true; }, [&] { EXPECT_EQ(q.get(), 6); });
  EXPECT_EQ(q.get(), 7);
  std::atomic<bool> there{false};
  hundred_signals(
      [&] {
        there = true;
        q.join();
      },
      [&] { return there.load(); },
      [&] {
        for (int i = 0; i < 3; ++i) {
          q.task_done();
        }
      });
}

}  // namespace
}  // namespace troupe
