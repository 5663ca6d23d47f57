// SPDX-License-Identifier: BSD-3-Clause
// What becomes of objects that are lent to other machines, and when the link is cut.
#include "troupe/barrier.hpp"
#include "troupe/condition.hpp"
#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/queue.hpp"
#include "troupe/semaphore.hpp"
#include "troupe/value.hpp"

#include "link_double.hpp"
#include "remote_fixture.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::link_double;

class RemoteObject : public test::remote_objects {};

// ---- several machines --------------------------------------------------------------------------

TEST_F(RemoteObject, TwoMachinesAndALocalUserShareAMutex) {
  link_double second;
  mutex home;
  value<long> total;
  long unguarded = 0;
  const auto count = [&](mutex lock, value<long> sum) {
    for (int i = 0; i < 60; ++i) {
      const std::lock_guard held{lock};
      ++unguarded;
      sum.fetch_add(1);
    }
  };
  std::vector<std::jthread> threads;
  threads.emplace_back(count, link->lend(home), link->lend(total));
  threads.emplace_back(count, link->lend(home), link->lend(total));
  threads.emplace_back(count, second.lend(home), second.lend(total));
  count(home, total);
  threads.clear();
  EXPECT_EQ(unguarded, 240);
  EXPECT_EQ(total.load(), 240);
}

TEST_F(RemoteObject, AHandlePassesFromOneMachineToAnotherByAQueueAtHome) {
  link_double second;
  const queue<value<int>> home;
  queue<value<int>> one = link->lend(home);
  queue<value<int>> other = second.lend(home);
  value<int> number;
  one.put(link->lend(number));
  other.get().store(5);
  EXPECT_EQ(number.load(), 5);
}

TEST_F(RemoteObject, AnObjectLivesAsLongAsAnotherMachineHasIt) {
  std::optional<value<int>> remote;
  std::uint64_t id = 0;
  {
    const value<int> home{3};
    id = home.id();
    remote = link->lend(home);
    EXPECT_EQ(info_of(id).holders, 2U);
    const value<int> again = link->lend(home);
  }
  EXPECT_EQ(remote->load(), 3);
  EXPECT_EQ(info_of(id).holders, 2U);  // the session, and this process for it
  remote.reset();
  EXPECT_TRUE(eventually([&] { return info_of(id).id == 0; }));
  remote = link->lend(value<int>{4});
  id = remote->id();
  link->cut();
  EXPECT_EQ(info_of(id).id, 0U);
}

TEST_F(RemoteObject, ComesTwiceAndIsDoneOnce) {
  link->duplicate(link_double::to_home);
  link->duplicate(link_double::to_remote);
  value<int> number;
  queue<int> items;
  value<int> far_number = link->lend(number);
  queue<int> far_items = link->lend(items);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(far_number.fetch_add(1), i);
    far_items.put(i);
  }
  EXPECT_EQ(items.size(), 100U);
  EXPECT_EQ(far_items.get(), 0);
  EXPECT_EQ(items.size(), 99U);
}

TEST_F(RemoteObject, ASlowLinkDelaysAndLosesNothing) {
  semaphore home{0};
  semaphore remote = link->lend(home);
  link->hold(link_double::to_home);
  std::jthread acquires{[&] { remote.acquire(); }};
  EXPECT_TRUE(eventually([&] { return link->sent(link_double::to_home) == 1; }));
  home.release();
  EXPECT_EQ(home.value(), 1);
  link->go_on(link_double::to_home);
  acquires.join();
  EXPECT_EQ(home.value(), 0);
}

// ---- the link is cut ---------------------------------------------------------------------------

TEST_F(RemoteObject, LocksOfALostMachineAreInherited) {
  mutex home;
  recursive_mutex levels;
  mutex remote = link->lend(home);
  recursive_mutex remote_levels = link->lend(levels);
  remote.lock();
  remote_levels.lock();
  remote_levels.lock();
  bool inherited = false;
  std::jthread waits{[&] {
    home.lock();
    inherited = home.inherited();
    home.recovered();
    home.unlock();
  }};
  EXPECT_TRUE(come_to_wait(home, 1));
  link->cut();
  waits.join();
  EXPECT_TRUE(inherited);
  levels.lock();
  EXPECT_TRUE(levels.inherited());
  levels.unlock();
  EXPECT_TRUE(is_lost(task_ran::no, [&] { remote.unlock(); }));
  EXPECT_TRUE(is_lost(task_ran::no, [&] { remote.lock(); }));
  EXPECT_TRUE(is_lost(task_ran::no, [&] { static_cast<void>(remote.inherited()); }));
}

TEST_F(RemoteObject, ALockThatIsWaitedForWhenTheLinkIsCutIsNotTaken) {
  mutex home;
  mutex remote = link->lend(home);
  home.lock();
  std::jthread waits{[&] { EXPECT_TRUE(is_lost(task_ran::maybe, [&] { remote.lock(); })); }};
  EXPECT_TRUE(come_to_wait(home, 1));
  link->cut();
  waits.join();
  home.unlock();
  home.lock();
  EXPECT_FALSE(home.inherited());
  home.unlock();
}

TEST_F(RemoteObject, ALockIsCutOffBeforeItIsTaken) {
  mutex home;
  mutex remote = link->lend(home);
  EXPECT_TRUE(lost_before_it_was_done([&] { remote.lock(); }));
  home.lock();
  EXPECT_FALSE(home.inherited());
  home.unlock();
}

TEST_F(RemoteObject, ALockIsCutOffAfterItWasTaken) {
  mutex home;
  mutex remote = link->lend(home);
  EXPECT_TRUE(lost_after_it_was_done([&] { remote.lock(); }));
  home.lock();
  EXPECT_TRUE(home.inherited());
  home.unlock();
}

TEST_F(RemoteObject, PermitsOfALostMachineAreGivenBack) {
  semaphore home{3};
  semaphore remote = link->lend(home);
  remote.acquire();
  remote.acquire();
  remote.release();
  home.acquire();
  EXPECT_EQ(home.value(), 1);
  link->cut();
  EXPECT_EQ(home.value(), 2);
}

TEST_F(RemoteObject, APermitIsCutOffBeforeAndAfterItWasTaken) {
  bounded_semaphore home{1};
  bounded_semaphore remote = link->lend(home);
  EXPECT_TRUE(lost_before_it_was_done([&] { remote.acquire(); }));
  EXPECT_EQ(home.value(), 1);
  link.emplace();
  remote = link->lend(home);
  EXPECT_TRUE(lost_after_it_was_done([&] { remote.acquire(); }));
  EXPECT_EQ(home.value(), 1);
}

TEST_F(RemoteObject, APermitIsKeptWithoutAHandle) {
  semaphore home{1};
  {
    semaphore remote = link->lend(home);
    remote.acquire();
  }
  EXPECT_TRUE(eventually([&] { return info_of(home.id()).holders == 1; }));
  EXPECT_EQ(home.value(), 0);
  link->lend(home).release();
  EXPECT_EQ(home.value(), 1);
  link->lend(home).acquire();
  EXPECT_EQ(home.value(), 0);
  link->cut();
  EXPECT_EQ(home.value(), 1);
}

TEST_F(RemoteObject, AnItemIsCutOffBeforeItIsTaken) {
  queue<int> home;
  home.put(1);
  queue<int> remote = link->lend(home);
  EXPECT_TRUE(lost_before_it_was_done([&] { static_cast<void>(remote.get()); }));
  EXPECT_EQ(home.size(), 1U);
  EXPECT_EQ(home.get(), 1);
}

TEST_F(RemoteObject, AnItemWhoseAnswerIsCutOffIsLostOnceAndDone) {
  queue<int> home;
  home.put_range(std::vector{1, 2});
  queue<int> remote = link->lend(home);
  EXPECT_TRUE(lost_after_it_was_done([&] { static_cast<void>(remote.get()); }));
  EXPECT_EQ(home.get_some(5), (std::vector{2}));
  EXPECT_FALSE(home.join_for(0s));
  home.task_done();
  EXPECT_TRUE(home.join_for(0s));
}

TEST_F(RemoteObject, WhoWaitsForAnItemLeavesAndTakesNone) {
  queue<int> home;
  queue<int> remote = link->lend(home);
  std::jthread waits{
      [&] { EXPECT_TRUE(is_lost(task_ran::maybe, [&] { static_cast<void>(remote.get()); })); }};
  EXPECT_TRUE(come_to_wait(home, 1));
  link->cut();
  waits.join();
  EXPECT_EQ(info_of(home.id()).waiters, 0U);
  home.put(1);
  EXPECT_EQ(home.get(), 1);
}

TEST_F(RemoteObject, WhatIsPutWhenTheLinkIsCutIsThereAtMostOnce) {
  queue<int> home;
  queue<int> remote = link->lend(home);
  EXPECT_TRUE(lost_before_it_was_done([&] { remote.put(1); }));
  EXPECT_EQ(home.size(), 0U);
  link.emplace();
  remote = link->lend(home);
  EXPECT_TRUE(lost_after_it_was_done([&] { remote.put(1); }));
  EXPECT_EQ(home.size(), 1U);
}

TEST_F(RemoteObject, ItemsThatALostMachineDidNotFinishAreDone) {
  queue<int> home;
  home.put_range(std::vector{1, 2, 3});
  queue<int> remote = link->lend(home);
  EXPECT_EQ(remote.get_some(3), (std::vector{1, 2, 3}));
  remote.task_done();
  EXPECT_FALSE(home.join_for(0s));
  link->cut();
  EXPECT_TRUE(home.join_for(0s));
}

TEST_F(RemoteObject, AnArrivalOfALostMachineIsWithdrawn) {
  barrier home{2};
  barrier remote = link->lend(home);
  std::jthread waits{
      [&] { EXPECT_TRUE(is_lost(task_ran::maybe, [&] { remote.arrive_and_wait(); })); }};
  EXPECT_TRUE(eventually([&] { return home.waiting() == 1; }));
  link->cut();
  waits.join();
  EXPECT_EQ(home.waiting(), 0U);
  std::jthread first{[&] { home.arrive_and_wait(); }};
  home.arrive_and_wait();
  first.join();
  EXPECT_FALSE(home.broken());
}

TEST_F(RemoteObject, ABarrierWhoseAnswerIsCutOffLetsTheOthersGo) {
  barrier home{2};
  barrier remote = link->lend(home);
  std::jthread other{[&] { home.arrive_and_wait(); }};
  EXPECT_TRUE(eventually([&] { return home.waiting() == 1; }));
  EXPECT_TRUE(lost_after_it_was_done([&] { remote.arrive_and_wait(); }));
  other.join();
  EXPECT_FALSE(home.broken());
}

link_double* cut_in_action = nullptr;
void cut_the_link() {
  cut_in_action->cut();
}

TEST_F(RemoteObject, AMachineThatIsLostInTheActionBreaksTheBarrier) {
  barrier home{2, cut_the_link};
  barrier remote = link->lend(home);
  cut_in_action = &*link;
  std::jthread other{[&] { EXPECT_THROW(home.arrive_and_wait(), broken_barrier); }};
  EXPECT_TRUE(eventually([&] { return home.waiting() == 1; }));
  EXPECT_TRUE(is_lost(task_ran::no, [&] { remote.arrive_and_wait(); }));
  other.join();
  EXPECT_TRUE(home.broken());
}

TEST_F(RemoteObject, WhoWaitsForAnEventOrAConditionLeaves) {
  event flag;
  std::pair<mutex, condition> both;
  event remote_flag = link->lend(flag);
  auto [lock, changed] = link->lend(both);
  std::jthread one{[&] { EXPECT_TRUE(is_lost(task_ran::maybe, [&] { remote_flag.wait(); })); }};
  std::jthread two{[&, lock = lock, changed = changed]() mutable {
    lock.lock();
    EXPECT_TRUE(is_lost(task_ran::maybe, [&] { changed.wait(lock); }));
  }};
  EXPECT_TRUE(come_to_wait(flag, 1));
  EXPECT_TRUE(eventually([&] { return both.second.waiting() == 1; }));
  link->cut();
  one.join();
  two.join();
  EXPECT_EQ(info_of(flag.id()).waiters, 0U);
  EXPECT_EQ(both.second.waiting(), 0U);
  both.first.lock();
  EXPECT_FALSE(both.first.inherited());  // it had given it up to wait
  both.first.unlock();
}

TEST_F(RemoteObject, ANotificationThatALostMachineDidNotUseIsPassedOn) {
  std::pair<mutex, condition> home;
  auto [lock, changed] = link->lend(home);
  std::jthread waits_longest{[&, lock = lock, changed = changed]() mutable {
    lock.lock();
    EXPECT_TRUE(is_lost(task_ran::maybe, [&] { changed.wait(lock); }));
  }};
  EXPECT_TRUE(eventually([&] { return home.second.waiting() == 1; }));
  std::jthread waits_here{[&] {
    std::unique_lock held{home.first};
    home.second.wait(held);
  }};
  EXPECT_TRUE(eventually([&] { return home.second.waiting() == 2; }));
  home.first.lock();
  home.second.notify_one();
  link->cut();  // while the one that was notified waits for the mutex
  home.first.unlock();
  waits_here.join();
}

TEST_F(RemoteObject, AGuardOfALostMachineIsInheritedAndItsChangesAreNot) {
  value<long> home{1};
  value<long> remote = link->lend(home);
  {
    auto guard = remote.lock();
    *guard = 2;
    link->cut();
  }
  const auto guard = home.lock();
  EXPECT_TRUE(guard.inherited());
  EXPECT_EQ(*guard, 1);
}

TEST_F(RemoteObject, APermitComesBackWhenTheHomeProcessIsKilled) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer allows no threads in a forked child";
#endif
  semaphore permits{1};
  const test::signpost taken;
  link.reset();
  test::forked home{[&] {
    link_double in_the_child;
    semaphore remote = in_the_child.lend(permits);
    remote.acquire();
    taken.reached();
    return test::sleep_until_killed();
  }};
  taken.await();
  EXPECT_EQ(permits.value(), 0);
  home.kill();
  permits.acquire();
}

}  // namespace
}  // namespace troupe
