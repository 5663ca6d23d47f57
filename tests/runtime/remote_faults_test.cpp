// SPDX-License-Identifier: BSD-3-Clause
// What becomes of objects that are lent to another machine when the link is cut, what comes over it
// is hostile, or something is asked for that cannot work from there.
#include "troupe/array.hpp"
#include "troupe/barrier.hpp"
#include "troupe/condition.hpp"
#include "troupe/connection.hpp"
#include "troupe/event.hpp"
#include "troupe/log.hpp"
#include "troupe/mutex.hpp"
#include "troupe/queue.hpp"
#include "troupe/semaphore.hpp"
#include "troupe/shared_memory.hpp"
#include "troupe/value.hpp"

#include "link_double.hpp"
#include "shared_fixture.hpp"
#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::fails_with;
using test::link_double;

class RemoteObject : public test::shared_objects {
 protected:
  RemoteObject() {
    // Warnings are expected here.
    set_log_hook([](log_level, std::string_view) {});
  }
  ~RemoteObject() override { set_log_hook({}); }

  std::optional<link_double> link{std::in_place};

  /// That the link was lost in it, and what is known of it then.
  static testing::AssertionResult is_lost(task_ran ran, const std::function<void()>& operation) {
    try {
      operation();
    } catch (const error& why) {
      if (why.code() == errc::connection_lost && why.ran() == ran) {
        return testing::AssertionSuccess();
      }
      return testing::AssertionFailure() << to_string(why.code()) << ": " << why.what();
    }
    return testing::AssertionFailure() << "it did not fail";
  }
  bool lost_before_it_was_done(const std::function<void()>& operation) {
    link->cut_instead_of_next(link_double::to_home);
    const bool lost = is_lost(task_ran::maybe, operation);
    link->cut();  // returns when both ends know
    return lost;
  }
  bool lost_after_it_was_done(const std::function<void()>& operation) {
    link->cut_instead_of_next(link_double::to_remote);
    const bool lost = is_lost(task_ran::maybe, operation);
    link->cut();
    return lost;
  }
};

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

// ---- what cannot work --------------------------------------------------------------------------

TEST_F(RemoteObject, WhatNeedsCommonMemoryIsRefusedWhenItIsSent) {
  const auto refused = [&](const auto& handle, const char* cure) {
    try {
      static_cast<void>(link->lend(handle));
    } catch (const error& why) {
      return why.code() == errc::argument_encode_failed && why.ran() == task_ran::no &&
             std::string{why.what()}.find(cure) != std::string::npos;
    }
    return false;
  };
  EXPECT_TRUE(refused(raw_value<int>{1}, "troupe::value"));
  EXPECT_TRUE(refused(raw_array<int>{2}, "troupe::array"));
  EXPECT_TRUE(refused(shared_memory{8}, "troupe::array"));
  EXPECT_TRUE(refused(shared_memory_view{shared_memory{8}}, "a view of shared memory"));
  auto [reader, writer] = pipe();
  EXPECT_TRUE(refused(reader, "queue"));
}

TEST_F(RemoteObject, AHandleGoesBackToItsOwnHomeOnly) {
  link_double second;
  const value<int> home;
  const value<int> remote = link->lend(home);
  EXPECT_TRUE(link->bring_home(remote) == home);
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] { return second.bring_home(remote); }));
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] { return second.lend(remote); }));
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] { return link->bring_home(home); }));
  queue<value<int>> local;
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] { return local.put(remote), 0; }));
  queue<value<int>> far_queue = link->lend(local);
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] { return far_queue.put(home), 0; }));
  EXPECT_TRUE(local.empty());
}

TEST_F(RemoteObject, ReferencesIntoMemoryAreForItsMachine) {
  const array<int> remote = link->lend(array<int>{1, 2});
  EXPECT_TRUE(fails_with(errc::not_on_this_machine, [&] { return remote[0]; }));
  EXPECT_TRUE(fails_with(errc::not_on_this_machine, [&] { return remote.at(0); }));
}

TEST_F(RemoteObject, AConditionAndItsMutexAreOfOneMachine) {
  mutex home;
  mutex remote = link->lend(home);
  condition here;
  condition there = link->lend(condition{});
  home.lock();
  EXPECT_TRUE(fails_with(errc::not_on_this_machine, [&] { return there.wait(home), 0; }));
  home.unlock();
  remote.lock();
  EXPECT_TRUE(fails_with(errc::not_on_this_machine, [&] { return here.wait(remote), 0; }));
  link_double second;
  condition elsewhere = second.lend(here);
  EXPECT_TRUE(fails_with(errc::not_on_this_machine, [&] { return elsewhere.wait(remote), 0; }));
  remote.unlock();
}

TEST_F(RemoteObject, AnItemThatCannotLeaveIsLostAndDone) {
  queue<std::vector<raw_value<int>>> home;
  auto remote = link->lend(home);
  home.put({raw_value<int>{1}});
  home.put({});
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] { return remote.get(); }));
  EXPECT_TRUE(remote.get().empty());
  remote.task_done();
  EXPECT_TRUE(home.join_for(0s));
}

// ---- hostile bytes -----------------------------------------------------------------------------

class HostileRemote : public RemoteObject {
 protected:
  /// As the next message of the session.
  void inject(std::vector<std::byte> message) {
    if (message.size() >= 9) {
      std::memcpy(message.data() + 1, &++number_, sizeof number_);
    }
    link->inject(message);
  }
  /// A request of a thread of its own.
  static std::vector<std::byte> request(std::uint64_t thread, std::uint64_t object,
                                        std::uint16_t what,
                                        const std::vector<std::byte>& arguments = {}) {
    detail::byte_buffer bytes;
    output_archive{bytes}(std::uint8_t{1}, std::uint64_t{0}, thread, object, what);
    bytes.append(arguments.data(), arguments.size());
    return {bytes.bytes().begin(), bytes.bytes().end()};
  }
  [[nodiscard]] bool was_refused() {
    const auto answer = link->last(link_double::to_remote);
    return answer.size() > 9 && answer[8] == std::byte{1};
  }

 private:
  std::uint64_t number_ = std::uint64_t{1} << 40;
};

TEST_F(HostileRemote, TruncatedMessagesAreRefused) {
  value<long> home{5};
  value<long> remote = link->lend(home);
  queue<int> items;
  queue<int> far_items = link->lend(items);
  remote.store(6);
  std::vector<std::vector<std::byte>> good{link->last(link_double::to_home)};
  far_items.put(1);
  good.push_back(link->last(link_double::to_home));
  for (const auto& message : good) {
    for (std::size_t length = 0; length < message.size(); ++length) {
      const std::size_t before = link->sent(link_double::to_remote);
      inject({message.begin(), message.begin() + static_cast<std::ptrdiff_t>(length)});
      ASSERT_TRUE(eventually([&] { return link->sent(link_double::to_remote) > before; }))
          << length;
      ASSERT_TRUE(was_refused()) << length;
    }
  }
  EXPECT_EQ(home.load(), 6);
  EXPECT_EQ(items.size(), 1U);
}

TEST_F(HostileRemote, UnknownObjectsAndOperationsAreRefused) {
  const event home;
  const event remote = link->lend(home);
  const event not_lent;
  for (const auto& message :
       {request(1, 12345, 10), request(1, not_lent.id(), 10), request(1, home.id(), 0),
        request(1, home.id(), 999), request(1, home.id(), 1), request(1, home.id(), 27)}) {
    const std::size_t before = link->sent(link_double::to_remote);
    inject(message);
    ASSERT_TRUE(eventually([&] { return link->sent(link_double::to_remote) > before; }));
    EXPECT_TRUE(was_refused());
  }
  EXPECT_FALSE(home.is_set());
  EXPECT_FALSE(not_lent.is_set());
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] {
    const std::vector<std::uint64_t> ids{not_lent.id()};
    const auto bytes = encode(ids);
    return link->home().unpack(bytes).size();
  }));
}

TEST_F(HostileRemote, AnItemThatIsNoneDoesNotBreakAPriorityQueue) {
  priority_queue<std::string> home;
  const auto remote = link->lend(home);
  detail::byte_buffer item;
  // For ever; one item of three bytes, which is no string; no handles.
  output_archive{item}(std::int64_t{-1}, std::uint64_t{1}, std::uint64_t{3}, std::uint16_t{7},
                       std::uint8_t{7}, std::uint64_t{0});
  inject(request(1, home.id(), 27, {item.bytes().begin(), item.bytes().end()}));
  ASSERT_TRUE(eventually([&] { return link->sent(link_double::to_remote) == 1; }));
  EXPECT_TRUE(was_refused());
  home.put("a string");
  EXPECT_EQ(home.get(), "a string");
}

TEST_F(HostileRemote, NoiseHarmsNothing) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::minstd_rand random{seed};
  const std::tuple<mutex, recursive_mutex, semaphore, event, condition, barrier, value<int>,
                   array<int>, queue<int>, priority_queue<int>>
      all{{}, {}, {}, {}, {}, barrier{2}, {}, array<int>{3}, {}, {}};
  auto far = link->lend(all);
  const auto ids =
      std::apply([](const auto&... one) { return std::vector<std::uint64_t>{one.id()...}; }, all);
  for (int i = 0; i < 3000; ++i) {
    std::vector<std::byte> arguments(random() % 40);
    for (std::byte& one : arguments) {
      // Mostly small numbers and ends of words, or nothing would pass for arguments.
      one = random() % 3 == 0 ? static_cast<std::byte>(random() % 256) : std::byte{0};
    }
    inject(request(random() % 20, ids[random() % ids.size()],
                   static_cast<std::uint16_t>(random() % 40), arguments));
    if (random() % 8 == 0) {
      std::vector<std::byte> noise(random() % 60);
      for (std::byte& one : noise) {
        one = static_cast<std::byte>(random() % 4);
      }
      inject(noise);
    }
  }
  link->cut();
  // Whatever it did, it holds nothing any more.
  auto objects = all;
  std::get<0>(objects).lock();
  std::get<0>(objects).unlock();
  std::get<1>(objects).lock();
  std::get<1>(objects).unlock();
  EXPECT_GE(std::get<2>(objects).value(), 1);
  EXPECT_EQ(std::get<4>(objects).waiting(), 0U);
  EXPECT_EQ(std::get<5>(objects).waiting(), 0U);
  static_cast<void>(std::get<6>(objects).lock());
  static_cast<void>(std::get<7>(objects).lock());
  for (const std::uint64_t id : ids) {
    EXPECT_EQ(info_of(id).holders, 1U);
    EXPECT_EQ(info_of(id).waiters, 0U);
  }
}

}  // namespace
}  // namespace troupe
