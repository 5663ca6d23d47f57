// SPDX-License-Identifier: BSD-3-Clause

// What processes share must survive the death of any of them at any instruction. Here a forked
// child dies at the first store of an operation that others could see, in the next run at the
// second one, and so on until the operation comes to its end. After each death the state must be
// the one from before or the one from after, nothing the dead held may be lost, and the next
// operation must work.

#include "troupe/barrier.hpp"
#include "troupe/condition.hpp"
#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/semaphore.hpp"
#include "troupe/value.hpp"

#include "runtime/shared/crossing_handles.hpp"
#include "shared/core/crash_step.hpp"
#include "shared/core/transaction.hpp"
#include "runtime/shared/shared_fixture.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::forked;

constexpr int died = 77;
int steps_left = 0;

void count_down() {
  if (--steps_left == 0) {
    ::_exit(died);
  }
}

/// Runs `operation` in a child that dies at its step `step`. False: it has no such step.
bool dies_at(int step, const std::function<void()>& operation) {
  forked child{[&] {
    steps_left = step;
    detail::crash_hook = &count_down;
    operation();
    detail::crash_hook = nullptr;
    return 0;
  }};
  const int code = child.wait();
  EXPECT_TRUE(code == died || code == 0) << "the child ended with " << code;
  return code == died;
}

/// `body(step)` for every step there is; it returns what dies_at did.
void for_each_step(const std::function<bool(int step)>& body) {
  int step = 1;
  for (; step < 1000 && !testing::Test::HasFailure(); ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    if (!body(step)) {
      break;
    }
  }
  EXPECT_GT(step, 3) << "the operation has no steps: is the hook compiled in?";
}

class DeathAtEveryStep : public test::shared_objects {
 protected:
  /// What must hold for any object when no operation is under way.
  template <class Handle>
  static void expect_in_order(const Handle& handle) {
    detail::attachment_list attachments;
    detail::byte_buffer buffer;
    {
      const detail::attachment_collector loading{attachments};
      output_archive ar{buffer};
      ar(handle);
    }
    const auto& object = dynamic_cast<const detail::region&>(*attachments.front());
    EXPECT_EQ(object.header().undo_size, 0U) << "something half done was left";
    for (const detail::wait_channel& channel : object.header().channels) {
      EXPECT_EQ(channel.waiters, 0U) << "a dead process still counts as waiting";
    }
    int owners = 0;
    for (const detail::process_slot& slot : object.slots()) {
      owners += slot.owner != 0 ? 1 : 0;
      if (slot.owner == 0) {
        for (const auto* words : {&slot.waiting, &slot.counters}) {
          for (const detail::shared_word& word : *words) {
            EXPECT_EQ(word, 0U) << "a free slot holds something";
          }
        }
      }
    }
    EXPECT_EQ(owners, 1) << "a dead process has a slot";
  }
};

TEST_F(DeathAtEveryStep, OfAcquiringAPermit) {
  for_each_step([](int step) {
    bounded_semaphore s{2};
    const bool dead = dies_at(step, [&] { s.acquire(); });
    detail::recover_objects_of_dead();
    EXPECT_EQ(s.value(), 2);
    expect_in_order(s);
    EXPECT_THROW(s.release(), std::logic_error);
    EXPECT_TRUE(s.try_acquire());
    return dead;
  });
}

TEST_F(DeathAtEveryStep, OfWaitingForAPermit) {
  for_each_step([](int step) {
    semaphore s{0};
    const bool dead = dies_at(step, [&] { static_cast<void>(s.try_acquire_for(1ms)); });
    detail::recover_objects_of_dead();
    expect_in_order(s);
    EXPECT_EQ(s.value(), 0);
    s.release();
    EXPECT_TRUE(s.try_acquire());
    return dead;
  });
}

TEST_F(DeathAtEveryStep, OfReleasingWhatAnotherProcessHolds) {
  for_each_step([](int step) {
    bounded_semaphore s{3};
    s.acquire();
    s.acquire();
    const bool dead = dies_at(step, [&] { s.release(); });
    detail::recover_objects_of_dead();
    expect_in_order(s);
    const auto free = s.value();
    EXPECT_TRUE(free == 1 || free == 2) << free;
    for (auto held = 3 - free; held > 0; --held) {
      s.release();
    }
    EXPECT_THROW(s.release(), std::logic_error) << "permits and ledger do not agree";
    return dead;
  });
}

TEST_F(DeathAtEveryStep, OfReleasingToAWaiter) {
  for_each_step([](int step) {
    semaphore s{0};
    value<int> got;
    forked waiter{[&] {
      s.acquire();
      got.store(1);
      return 0;
    }};
    EXPECT_TRUE(come_to_wait(s, 1));
    const bool dead = dies_at(step, [&] { s.release(); });
    if (s.value() == 1) {
      EXPECT_TRUE(eventually([&] { return got.load() == 1; })) << "it was released";
    }
    s.release();
    EXPECT_EQ(waiter.wait(), 0);
    detail::recover_objects_of_dead();
    EXPECT_TRUE(s.value() == 1 || s.value() == 2) << s.value();
    expect_in_order(s);
    return dead;
  });
}

TEST_F(DeathAtEveryStep, OfGivingBackWhatADeadProcessHeld) {
  for_each_step([](int step) {
    bounded_semaphore s{3};
    forked holder{[&] {
      s.acquire();
      s.acquire();
      return 0;
    }};
    EXPECT_EQ(holder.wait(), 0);
    const bool dead = dies_at(step, [] { detail::recover_objects_of_dead(); });
    detail::recover_objects_of_dead();
    EXPECT_EQ(s.value(), 3);
    expect_in_order(s);
    return dead;
  });
}

TEST_F(DeathAtEveryStep, OfUndoingWhatADeadProcessLeftHalfDone) {
  for_each_step([](int first) {
    bool dead = false;
    for (int second = 1;; ++second) {
      SCOPED_TRACE("then step " + std::to_string(second));
      bounded_semaphore s{2};
      dead = dies_at(first, [&] { s.acquire(); });
      const bool undone = !dies_at(second, [&] { static_cast<void>(s.try_acquire()); });
      detail::recover_objects_of_dead();
      EXPECT_EQ(s.value(), 2);
      expect_in_order(s);
      if (undone || testing::Test::HasFailure()) {
        return dead;
      }
    }
  });
}

TEST_F(DeathAtEveryStep, OfSettingAnEvent) {
  for_each_step([](int step) {
    event e;
    forked waiter{[&] {
      e.wait();
      return 0;
    }};
    EXPECT_TRUE(come_to_wait(e, 1));
    const bool dead = dies_at(step, [&] { e.set(); });
    if (!e.is_set()) {
      e.set();
    }
    EXPECT_EQ(waiter.wait(), 0);
    return dead;
  });
}

TEST_F(DeathAtEveryStep, OfTakingOverAMutex) {
  for_each_step([](int step) {
    recursive_mutex m;
    forked holder{[&] {
      m.lock();
      m.lock();
      return 0;
    }};
    EXPECT_EQ(holder.wait(), 0);
    const bool dead = dies_at(step, [&] {
      m.lock();
      m.unlock();
    });
    EXPECT_TRUE(m.try_lock());
    EXPECT_TRUE(m.inherited());
    m.unlock();
    EXPECT_THROW(m.unlock(), std::system_error) << "levels of the dead are left";
    return dead;
  });
}

TEST_F(DeathAtEveryStep, OfAWaitOnAConditionThatTimesOut) {
  for_each_step([](int step) {
    mutex m;
    condition c;
    const bool dead = dies_at(step, [&] {
      std::unique_lock lock{m};
      c.wait_for(lock, 1ms);
    });
    detail::recover_objects_of_dead();
    EXPECT_EQ(c.waiting(), 0U);
    expect_in_order(c);
    EXPECT_TRUE(m.try_lock());
    m.unlock();
    return dead;
  });
}

TEST_F(DeathAtEveryStep, OfNotifying) {
  for_each_step([](int step) {
    mutex m;
    condition c;
    value<int> awake;
    const auto wait = [&] {
      std::unique_lock lock{m};
      c.wait(lock);
      awake.fetch_add(1);
      return 0;
    };
    forked one{wait};
    forked two{wait};
    EXPECT_TRUE(eventually([&] { return c.waiting() == 2; }));
    const bool dead = dies_at(step, [&] { c.notify_one(); });
    const auto left = c.waiting();
    EXPECT_TRUE(left == 1 || left == 2) << left;
    EXPECT_TRUE(eventually([&] { return awake.load() == 2 - static_cast<int>(left); }))
        << "the notified thread wakes up";
    c.notify_all();
    EXPECT_EQ(one.wait(), 0);
    EXPECT_EQ(two.wait(), 0);
    detail::recover_objects_of_dead();
    expect_in_order(c);
    return dead;
  });
}

TEST_F(DeathAtEveryStep, OfReturningFromAWaitWithANotification) {
  for_each_step([](int step) {
    mutex m;
    condition c;
    value<int> returned;
    forked victim{[&] {
      std::unique_lock lock{m};
      steps_left = step;
      detail::crash_hook = &count_down;
      c.wait(lock);
      detail::crash_hook = nullptr;
      returned.store(1);
      return 0;
    }};
    // It may die before it waits at all.
    static_cast<void>(eventually(
        [&] {
          detail::recover_objects_of_dead();
          return c.waiting() == 1;
        },
        200ms));
    const bool waits = c.waiting() == 1;
    value<int> survived;
    forked survivor{[&] {
      std::unique_lock lock{m};
      c.wait(lock);
      survived.store(1);
      return 0;
    }};
    EXPECT_TRUE(eventually([&] { return c.waiting() == (waits ? 2U : 1U) || c.waiting() == 1U; }));
    EXPECT_TRUE(eventually([&] { return info_of(c.id()).waiters >= 1; }));
    c.notify_one();
    const int code = victim.wait();
    detail::recover_objects_of_dead();
    // Either the victim left its cell, and with it used the notification, or it was passed on.
    if (!eventually([&] { return survived.load() == 1 || c.waiting() == 1; })) {
      ADD_FAILURE() << "the notification was lost with a dead process";
    }
    c.notify_all();
    EXPECT_EQ(survivor.wait(), 0);
    detail::recover_objects_of_dead();
    EXPECT_EQ(c.waiting(), 0U);
    expect_in_order(c);
    return code == died;
  });
}

TEST_F(DeathAtEveryStep, OfWithdrawingADeadWaiter) {
  for_each_step([](int step) {
    mutex m;
    condition c;
    forked victim{[&] {
      std::unique_lock lock{m};
      c.wait(lock);
      return 0;
    }};
    EXPECT_TRUE(eventually([&] { return c.waiting() == 1; }));
    bool dead = false;
    {
      const std::lock_guard lock{m};
      c.notify_one();
      victim.kill();
      dead = dies_at(step, [] { detail::recover_objects_of_dead(); });
    }
    detail::recover_objects_of_dead();
    EXPECT_EQ(c.waiting(), 0U);
    expect_in_order(c);
    return dead;
  });
}

void nothing() {}

/// Two parties pass.
void expect_passable(barrier b) {
  forked other{[&] { return static_cast<int>(b.arrive_and_wait()); }};
  const auto mine = static_cast<int>(b.arrive_and_wait());
  EXPECT_EQ(other.wait() + mine, 1) << "one of them has 0, the other one 1";
  EXPECT_EQ(b.waiting(), 0U);
  detail::recover_objects_of_dead();
}

TEST_F(DeathAtEveryStep, OfWaitingAtABarrier) {
  for_each_step([](int step) {
    barrier b{2};
    const bool dead = dies_at(step, [&] {
      try {
        b.arrive_and_wait_for(1ms);
      } catch (const broken_barrier&) {  // NOLINT(bugprone-empty-catch): no other party comes
      }
    });
    detail::recover_objects_of_dead();
    EXPECT_EQ(b.waiting(), 0U);
    expect_in_order(b);
    if (b.broken()) {
      b.reset();
    }
    expect_passable(b);
    expect_in_order(b);
    return dead;
  });
}

class DeathOfTheLastParty : public DeathAtEveryStep, public testing::WithParamInterface<bool> {};

TEST_P(DeathOfTheLastParty, OfABarrier) {
  for_each_step([](int step) {
    barrier b = GetParam() ? barrier{2, &nothing} : barrier{2};
    forked survivor{[&] {
      try {
        return static_cast<int>(b.arrive_and_wait());
      } catch (const broken_barrier&) {
        return 50;
      }
    }};
    EXPECT_TRUE(come_to_wait(b, 1));
    const bool dead = dies_at(step, [&] { b.arrive_and_wait(); });
    detail::recover_objects_of_dead();
    // Now it passed, is broken, or waits for another party.
    const bool waits = b.waiting() == 1;
    if (waits) {
      b.arrive_and_wait();
    }
    const int code = survivor.wait();
    EXPECT_TRUE(code == 0 || code == 1 || (code == 50 && b.broken())) << code;
    if (b.broken()) {
      b.reset();
    }
    detail::recover_objects_of_dead();
    expect_in_order(b);
    expect_passable(b);
    expect_in_order(b);
    return dead;
  });
}

INSTANTIATE_TEST_SUITE_P(, DeathOfTheLastParty, testing::Bool(),
                         [](const auto& one) { return one.param ? "Acting" : "Plain"; });

}  // namespace
}  // namespace troupe
