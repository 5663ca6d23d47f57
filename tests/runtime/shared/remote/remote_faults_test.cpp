// SPDX-License-Identifier: BSD-3-Clause
// What becomes of objects that are exported to other machines, and when the link is cut.
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
  mutex exporter;
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
  threads.emplace_back(count, link->to_importer(exporter), link->to_importer(total));
  threads.emplace_back(count, link->to_importer(exporter), link->to_importer(total));
  threads.emplace_back(count, second.to_importer(exporter), second.to_importer(total));
  count(exporter, total);
  threads.clear();
  EXPECT_EQ(unguarded, 240);
  EXPECT_EQ(total.load(), 240);
}

TEST_F(RemoteObject, AHandlePassesFromOneMachineToAnotherByAQueueOfTheExporter) {
  link_double second;
  const queue<value<int>> exporter;
  queue<value<int>> one = link->to_importer(exporter);
  queue<value<int>> other = second.to_importer(exporter);
  value<int> number;
  one.put(link->to_importer(number));
  other.get().store(5);
  EXPECT_EQ(number.load(), 5);
}

TEST_F(RemoteObject, AnObjectLivesAsLongAsAnotherMachineHasIt) {
  std::optional<value<int>> remote;
  std::uint64_t id = 0;
  {
    const value<int> exporter{3};
    id = exporter.id();
    remote = link->to_importer(exporter);
    EXPECT_EQ(info_of(id).holders, 2U);
    const value<int> again = link->to_importer(exporter);
  }
  EXPECT_EQ(remote->load(), 3);
  EXPECT_EQ(info_of(id).holders, 2U);  // the session, and this process for it
  remote.reset();
  EXPECT_TRUE(eventually([&] { return info_of(id).id == 0; }));
  remote = link->to_importer(value<int>{4});
  id = remote->id();
  link->cut();
  EXPECT_EQ(info_of(id).id, 0U);
}

TEST_F(RemoteObject, ComesTwiceAndIsDoneOnce) {
  link->duplicate(link_double::to_exporter);
  link->duplicate(link_double::to_remote);
  value<int> number;
  queue<int> items;
  value<int> remote_number = link->to_importer(number);
  queue<int> remote_items = link->to_importer(items);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(remote_number.fetch_add(1), i);
    remote_items.put(i);
  }
  EXPECT_EQ(items.size(), 100U);
  EXPECT_EQ(remote_items.get(), 0);
  EXPECT_EQ(items.size(), 99U);
}

TEST_F(RemoteObject, ASlowLinkDelaysAndLosesNothing) {
  semaphore exporter{0};
  semaphore remote = link->to_importer(exporter);
  link->hold(link_double::to_exporter);
  std::jthread acquires{[&] { remote.acquire(); }};
  EXPECT_TRUE(eventually([&] { return link->sent(link_double::to_exporter) == 1; }));
  exporter.release();
  EXPECT_EQ(exporter.value(), 1);
  link->go_on(link_double::to_exporter);
  acquires.join();
  EXPECT_EQ(exporter.value(), 0);
}

// ---- the link is cut ---------------------------------------------------------------------------

TEST_F(RemoteObject, LocksOfALostMachineAreInherited) {
  mutex exporter;
  recursive_mutex levels;
  mutex remote = link->to_importer(exporter);
  recursive_mutex remote_levels = link->to_importer(levels);
  remote.lock();
  remote_levels.lock();
  remote_levels.lock();
  bool inherited = false;
  std::jthread waits{[&] {
    exporter.lock();
    inherited = exporter.inherited();
    exporter.recovered();
    exporter.unlock();
  }};
  EXPECT_TRUE(come_to_wait(exporter, 1));
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
  mutex exporter;
  mutex remote = link->to_importer(exporter);
  exporter.lock();
  std::jthread waits{[&] { EXPECT_TRUE(is_lost(task_ran::maybe, [&] { remote.lock(); })); }};
  EXPECT_TRUE(come_to_wait(exporter, 1));
  link->cut();
  waits.join();
  exporter.unlock();
  exporter.lock();
  EXPECT_FALSE(exporter.inherited());
  exporter.unlock();
}

TEST_F(RemoteObject, ALockIsCutOffBeforeItIsTaken) {
  mutex exporter;
  mutex remote = link->to_importer(exporter);
  EXPECT_TRUE(lost_before_it_was_done([&] { remote.lock(); }));
  exporter.lock();
  EXPECT_FALSE(exporter.inherited());
  exporter.unlock();
}

TEST_F(RemoteObject, ALockIsCutOffAfterItWasTaken) {
  mutex exporter;
  mutex remote = link->to_importer(exporter);
  EXPECT_TRUE(lost_after_it_was_done([&] { remote.lock(); }));
  exporter.lock();
  EXPECT_TRUE(exporter.inherited());
  exporter.unlock();
}

TEST_F(RemoteObject, PermitsOfALostMachineAreGivenBack) {
  semaphore exporter{3};
  semaphore remote = link->to_importer(exporter);
  remote.acquire();
  remote.acquire();
  remote.release();
  exporter.acquire();
  EXPECT_EQ(exporter.value(), 1);
  link->cut();
  EXPECT_EQ(exporter.value(), 2);
}

TEST_F(RemoteObject, APermitIsCutOffBeforeAndAfterItWasTaken) {
  bounded_semaphore exporter{1};
  bounded_semaphore remote = link->to_importer(exporter);
  EXPECT_TRUE(lost_before_it_was_done([&] { remote.acquire(); }));
  EXPECT_EQ(exporter.value(), 1);
  link.emplace();
  remote = link->to_importer(exporter);
  EXPECT_TRUE(lost_after_it_was_done([&] { remote.acquire(); }));
  EXPECT_EQ(exporter.value(), 1);
}

TEST_F(RemoteObject, APermitIsKeptWithoutAHandle) {
  semaphore exporter{1};
  {
    semaphore remote = link->to_importer(exporter);
    remote.acquire();
  }
  EXPECT_TRUE(eventually([&] { return info_of(exporter.id()).holders == 1; }));
  EXPECT_EQ(exporter.value(), 0);
  link->to_importer(exporter).release();
  EXPECT_EQ(exporter.value(), 1);
  link->to_importer(exporter).acquire();
  EXPECT_EQ(exporter.value(), 0);
  link->cut();
  EXPECT_EQ(exporter.value(), 1);
}

TEST_F(RemoteObject, AnItemIsCutOffBeforeItIsTaken) {
  queue<int> exporter;
  exporter.put(1);
  queue<int> remote = link->to_importer(exporter);
  EXPECT_TRUE(lost_before_it_was_done([&] { static_cast<void>(remote.get()); }));
  EXPECT_EQ(exporter.size(), 1U);
  EXPECT_EQ(exporter.get(), 1);
}

TEST_F(RemoteObject, AnItemWhoseAnswerIsCutOffIsLostOnceAndDone) {
  queue<int> exporter;
  exporter.put_range(std::vector{1, 2});
  queue<int> remote = link->to_importer(exporter);
  EXPECT_TRUE(lost_after_it_was_done([&] { static_cast<void>(remote.get()); }));
  EXPECT_EQ(exporter.get_some(5), (std::vector{2}));
  EXPECT_FALSE(exporter.join_for(0s));
  exporter.task_done();
  EXPECT_TRUE(exporter.join_for(0s));
}

TEST_F(RemoteObject, AThreadThatWaitsForAnItemLeavesAndTakesNone) {
  queue<int> exporter;
  queue<int> remote = link->to_importer(exporter);
  std::jthread waits{
      [&] { EXPECT_TRUE(is_lost(task_ran::maybe, [&] { static_cast<void>(remote.get()); })); }};
  EXPECT_TRUE(come_to_wait(exporter, 1));
  link->cut();
  waits.join();
  EXPECT_EQ(info_of(exporter.id()).waiters, 0U);
  exporter.put(1);
  EXPECT_EQ(exporter.get(), 1);
}

TEST_F(RemoteObject, WhatIsPutWhenTheLinkIsCutIsThereAtMostOnce) {
  queue<int> exporter;
  queue<int> remote = link->to_importer(exporter);
  EXPECT_TRUE(lost_before_it_was_done([&] { remote.put(1); }));
  EXPECT_EQ(exporter.size(), 0U);
  link.emplace();
  remote = link->to_importer(exporter);
  EXPECT_TRUE(lost_after_it_was_done([&] { remote.put(1); }));
  EXPECT_EQ(exporter.size(), 1U);
}

TEST_F(RemoteObject, ItemsThatALostMachineDidNotFinishAreDone) {
  queue<int> exporter;
  exporter.put_range(std::vector{1, 2, 3});
  queue<int> remote = link->to_importer(exporter);
  EXPECT_EQ(remote.get_some(3), (std::vector{1, 2, 3}));
  remote.task_done();
  EXPECT_FALSE(exporter.join_for(0s));
  link->cut();
  EXPECT_TRUE(exporter.join_for(0s));
}

TEST_F(RemoteObject, AnArrivalOfALostMachineIsWithdrawn) {
  barrier exporter{2};
  barrier remote = link->to_importer(exporter);
  std::jthread waits{
      [&] { EXPECT_TRUE(is_lost(task_ran::maybe, [&] { remote.arrive_and_wait(); })); }};
  EXPECT_TRUE(eventually([&] { return exporter.waiting() == 1; }));
  link->cut();
  waits.join();
  EXPECT_EQ(exporter.waiting(), 0U);
  std::jthread first{[&] { exporter.arrive_and_wait(); }};
  exporter.arrive_and_wait();
  first.join();
  EXPECT_FALSE(exporter.broken());
}

TEST_F(RemoteObject, ABarrierWhoseAnswerIsCutOffLetsTheOthersGo) {
  barrier exporter{2};
  barrier remote = link->to_importer(exporter);
  std::jthread other{[&] { exporter.arrive_and_wait(); }};
  EXPECT_TRUE(eventually([&] { return exporter.waiting() == 1; }));
  EXPECT_TRUE(lost_after_it_was_done([&] { remote.arrive_and_wait(); }));
  other.join();
  EXPECT_FALSE(exporter.broken());
}

link_double* cut_in_action = nullptr;
void cut_the_link() {
  cut_in_action->cut();
}

TEST_F(RemoteObject, AMachineThatIsLostInTheActionBreaksTheBarrier) {
  barrier exporter{2, cut_the_link};
  barrier remote = link->to_importer(exporter);
  cut_in_action = &*link;
  std::jthread other{[&] { EXPECT_THROW(exporter.arrive_and_wait(), broken_barrier); }};
  EXPECT_TRUE(eventually([&] { return exporter.waiting() == 1; }));
  EXPECT_TRUE(is_lost(task_ran::no, [&] { remote.arrive_and_wait(); }));
  other.join();
  EXPECT_TRUE(exporter.broken());
}

TEST_F(RemoteObject, AThreadThatWaitsForAnEventOrAConditionLeaves) {
  event flag;
  std::pair<mutex, condition> both;
  event remote_flag = link->to_importer(flag);
  auto [lock, changed] = link->to_importer(both);
  std::jthread one{[&] { EXPECT_TRUE(is_lost(task_ran::maybe, [&] { remote_flag.wait(); })); }};
  std::jthread two{[&, own_lock = lock, own_changed = changed]() mutable {
    own_lock.lock();
    EXPECT_TRUE(is_lost(task_ran::maybe, [&] { own_changed.wait(own_lock); }));
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
  std::pair<mutex, condition> exporter;
  auto [lock, changed] = link->to_importer(exporter);
  std::jthread waits_longest{[&, own_lock = lock, own_changed = changed]() mutable {
    own_lock.lock();
    EXPECT_TRUE(is_lost(task_ran::maybe, [&] { own_changed.wait(own_lock); }));
  }};
  EXPECT_TRUE(eventually([&] { return exporter.second.waiting() == 1; }));
  std::jthread waits_here{[&] {
    std::unique_lock held{exporter.first};
    exporter.second.wait(held);
  }};
  EXPECT_TRUE(eventually([&] { return exporter.second.waiting() == 2; }));
  exporter.first.lock();
  exporter.second.notify_one();
  link->cut();  // while the one that was notified waits for the mutex
  exporter.first.unlock();
  waits_here.join();
}

TEST_F(RemoteObject, AGuardOfALostMachineIsInheritedAndItsChangesAreNot) {
  value<long> exporter{1};
  value<long> remote = link->to_importer(exporter);
  {
    auto guard = remote.lock();
    *guard = 2;
    link->cut();
  }
  const auto guard = exporter.lock();
  EXPECT_TRUE(guard.inherited());
  EXPECT_EQ(*guard, 1);
}

TEST_F(RemoteObject, APermitComesBackWhenTheExporterIsKilled) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer allows no threads in a forked child";
#endif
  semaphore permits{1};
  const test::signpost taken;
  link.reset();
  test::forked exporter{[&] {
    link_double in_the_child;
    semaphore remote = in_the_child.to_importer(permits);
    remote.acquire();
    taken.reached();
    return test::sleep_until_killed();
  }};
  taken.await();
  EXPECT_EQ(permits.value(), 0);
  exporter.kill();
  permits.acquire();
}

}  // namespace
}  // namespace troupe
