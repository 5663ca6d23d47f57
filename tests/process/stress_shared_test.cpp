// SPDX-License-Identifier: BSD-3-Clause
// Processes that die with locks, waits, items and memory in their hands, again and again: at a step
// inside of an operation that the seed chose, or from outside after so many operations.
#include "troupe/barrier.hpp"
#include "troupe/condition.hpp"
#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/shared_memory.hpp"
#include "troupe/value.hpp"

#include "shared/core/crash_step.hpp"
#include "stress_fixture.hpp"
#include "support/unique_name.hpp"

#include <array>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

struct StressShared : stress_test {
  template <class F, class... Args>
  [[nodiscard]] process start(F function, const Args&... arguments) const {
    process_options how;
    how.start = GetParam();
    process made{how, function, arguments...};
    made.start();
    return made;
  }

  /// Starting a process with exec takes ten times as long as with fork.
  [[nodiscard]] int rounds(int full) const {
    const int count = GetParam() == start_method::spawn ? full / 5 : full;
    return std::max(2, scaled(count));
  }
};
TROUPE_FOR_EVERY_START_METHOD(StressShared);

[[noreturn]] void die() {
  ::kill(::getpid(), SIGKILL);
  ::abort();
}

/// Steps that this thread has left to live; 0: it does not count them.
thread_local int steps_left = 0;

/// The calling thread's process ends inside of an operation on shared objects, `steps` from now.
void die_after(int steps) {
  steps_left = steps;
  detail::crash_hook = [] {
    if (steps_left != 0 && --steps_left == 0) {
      die();
    }
  };
}

bool was_killed(const process& p) {
  return p.exit_status() == exit_status{killed_by{SIGKILL}};
}

// ---- holders ------------------------------------------------------------------------------------

/// Equal, but while a process changes them under the lock.
struct words {
  std::uint64_t one = 0;
  std::uint64_t two = 0;
};

struct account {
  mutex lock;
  raw_value<words> data;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(lock, data);
  }
};

struct bank {
  std::vector<account> accounts = std::vector<account>(4);
  std::vector<value<words>> values = std::vector<value<words>>(4);
  value<int> changes;      // of one or the other
  value<int> visits;       // whole ones
  value<int> deaths;       // times the locks that the dead had
  value<int> inherited;    // locks that said so to their next owner
  value<int> unannounced;  // times words differed without
  value<int> over;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(accounts, values, changes, visits, deaths, inherited, unannounced, over);
  }
};

/// What the next owner does first.
template <class Lock>
void take_over(bank& all, Lock& lock, words& data) {
  if (lock.inherited()) {
    all.inherited.fetch_add(1);
    data.two = data.one;
    lock.recovered();
  } else if (data.one != data.two) {
    all.unannounced.fetch_add(1);
  }
}

/// Changes some of them, always in the same order; returns how many it has then.
template <class Then>
void change_some(bank& all, std::mt19937& random, const Then& then) {
  std::vector<std::unique_lock<mutex>> locks;
  std::vector<value<words>::guard> guards;
  std::vector<words*> changed;
  for (account& one : all.accounts) {
    if (random() % 2 == 0) {
      locks.emplace_back(one.lock);
      take_over(all, one.lock, *one.data);
      changed.push_back(&*one.data);
    }
  }
  for (value<words>& one : all.values) {
    if (random() % 2 == 0) {
      guards.push_back(one.lock());
      take_over(all, guards.back(), *guards.back());
      changed.push_back(&*guards.back());
    }
  }
  for (words* data : changed) {
    ++data->one;
    all.changes.fetch_add(1);
  }
  then(static_cast<int>(changed.size()));
  for (words* data : changed) {
    ++data->two;
  }
}

void visit(bank& all, std::mt19937& random) {
  change_some(all, random, [](int /*held*/) {});
  all.visits.fetch_add(1);
}
void visit_till_the_end(bank all, unsigned seed) {
  std::mt19937 random{seed};
  while (all.over.load() == 0) {
    visit(all, random);
  }
}
void visit_and_die_half_way(bank all, unsigned seed) {
  std::mt19937 random{seed};
  for (auto whole = random() % 4; whole > 0; --whole) {
    visit(all, random);
  }
  change_some(all, random, [&](int held) {
    all.deaths.fetch_add(held);
    die();
  });
}

std::uint64_t sum_and_check(bank& all) {
  std::uint64_t sum = 0;
  for (account& one : all.accounts) {
    const std::scoped_lock lock{one.lock};
    take_over(all, one.lock, *one.data);
    EXPECT_EQ(one.data->one, one.data->two);
    sum += one.data->one;
  }
  for (value<words>& one : all.values) {
    auto guard = one.lock();
    take_over(all, guard, *guard);
    EXPECT_EQ(guard->one, guard->two);
    sum += guard->one;
  }
  return sum;
}

// S12: exactly as many locks are found inherited as were held by the processes that died.
TEST_P(StressShared, EveryLockOfTheDeadGoesToTheNextWhichIsTold) {
  bank all;
  std::array contenders{start(visit_till_the_end, all, seed_),
                        start(visit_till_the_end, all, seed_ + 1)};
  const int deaths = rounds(250);
  for (int i = 0; i < deaths; i += 2) {
    const std::array victims{start(visit_and_die_half_way, all, random_()),
                             start(visit_and_die_half_way, all, random_())};
    for (const process& victim : victims) {
      victim.join();
      ASSERT_TRUE(was_killed(victim));
    }
    visit(all, random_);
  }
  all.over.store(1);
  for (const process& one : contenders) {
    one.join();
    EXPECT_EQ(one.exit_status(), exit_status{exited{0}});
  }
  EXPECT_EQ(sum_and_check(all), static_cast<std::uint64_t>(all.changes.load()));
  EXPECT_EQ(all.inherited.load(), all.deaths.load());
  EXPECT_EQ(all.unannounced.load(), 0);
  std::cout << deaths << " deaths with " << all.deaths.load() << " locks, " << all.visits.load()
            << " visits" << std::endl;
}

// S12: killed from outside, wherever they were.
TEST_P(StressShared, NoChangeIsLeftHalfDoneUnannouncedByKillsFromOutside) {
  bank all;
  std::array visitors{start(visit_till_the_end, all, seed_),
                      start(visit_till_the_end, all, seed_ + 1),
                      start(visit_till_the_end, all, seed_ + 2)};
  const int kills = rounds(120);
  for (int i = 0; i < kills; ++i) {
    const int next = all.visits.load() + below(50);
    ASSERT_TRUE(eventually([&] { return all.visits.load() >= next; })) << "no process gets a lock";
    process& victim = visitors[static_cast<std::size_t>(below(3))];
    victim.kill();
    if (below(2) == 0) {
      victim.join();
    }
    visit(all, random_);
    victim.join();
    victim = start(visit_till_the_end, all, random_());
  }
  all.over.store(1);
  for (const process& one : visitors) {
    one.join();
  }
  static_cast<void>(sum_and_check(all));
  EXPECT_EQ(all.unannounced.load(), 0);
  std::cout << kills << " kills, " << all.inherited.load() << " inherited, " << all.visits.load()
            << " visits" << std::endl;
}

// ---- waiters ------------------------------------------------------------------------------------

/// What waiters of a condition or event share with the test.
struct waiting_place {
  mutex lock;
  condition changed;
  event go;
  event again;
  value<int> ready;
  value<int> woken;
  value<int> over;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(lock, changed, go, again, ready, woken, over);
  }
};

void live_waiter_of_condition(waiting_place at) {
  for (;;) {
    at.again.wait();
    at.again.clear();
    std::unique_lock held{at.lock};
    if (at.over.load() != 0) {
      return;
    }
    at.ready.fetch_add(1);
    at.changed.wait(held);
    at.woken.fetch_add(1);
  }
}
void victim_of_condition(waiting_place at, int steps) {
  std::unique_lock held{at.lock};
  at.ready.fetch_add(1);
  if (steps != 0) {
    die_after(steps);
  }
  at.changed.wait(held);
}

// S13
TEST_P(StressShared, NotificationsReachTheLivingWhicheverProcessDies) {
  waiting_place at;
  const process live = start(live_waiter_of_condition, at);
  int ready = 0;
  const int count = rounds(25);
  for (int round = 0; round < count; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    const bool live_first = below(2) == 0;
    const bool in_wait = below(2) == 0;  // killed there from outside, and gone
    const auto wait_for_ready = [&] {
      ASSERT_TRUE(eventually([&] { return at.ready.load() == ready; }));
    };
    if (live_first) {
      at.again.set();
      ++ready;
      wait_for_ready();
    }
    std::vector<process> victims;
    for (int i = 0; i < 3; ++i) {
      victims.push_back(start(victim_of_condition, at, in_wait ? 0 : 1 + below(60)));
      ++ready;
    }
    wait_for_ready();
    if (!live_first) {
      at.again.set();
      ++ready;
      wait_for_ready();
    }
    {
      const std::scoped_lock all_wait{at.lock};
    }
    for (const process& victim : victims) {
      if (in_wait) {
        victim.kill();
        victim.join();
      }
    }
    const int before = at.woken.load();
    if (in_wait) {
      at.changed.notify_one();
      ASSERT_TRUE(eventually([&] { return at.woken.load() == before + 1; }))
          << "a notification was lost with a dead waiter";
    } else {
      // The victims that live may return with notifications: they have had them.
      ASSERT_TRUE(eventually([&] {
        at.changed.notify_one();
        return at.woken.load() == before + 1;
      }));
      at.changed.notify_all();
    }
    for (const process& victim : victims) {
      victim.kill();
      victim.join();
    }
  }
  at.over.store(1);
  at.again.set();
  live.join();
  EXPECT_EQ(live.exit_status(), exit_status{exited{0}});
  EXPECT_EQ(at.woken.load(), count);
}

void live_waiter_of_event(waiting_place at) {
  for (;;) {
    at.again.wait();
    at.again.clear();
    if (at.over.load() != 0) {
      return;
    }
    at.go.wait();
    at.woken.fetch_add(1);
  }
}
void victim_of_event(waiting_place at, int steps) {
  at.ready.fetch_add(1);
  if (steps != 0) {
    die_after(steps);
  }
  at.go.wait();
}

// S13
TEST_P(StressShared, EventsWakeTheLivingWhicheverProcessDies) {
  waiting_place at;
  const process live = start(live_waiter_of_event, at);
  const int count = rounds(40);
  for (int round = 1; round <= count; ++round) {
    at.again.set();
    std::vector<process> victims;
    for (int i = 0; i < 3; ++i) {
      victims.push_back(start(victim_of_event, at, below(2) == 0 ? 0 : 1 + below(30)));
    }
    ASSERT_TRUE(eventually([&] { return at.ready.load() == 3 * round; }));
    const bool before = below(2) == 0;
    for (const process& victim : victims) {
      victim.kill();
      if (before) {
        victim.join();
      }
    }
    at.go.set();
    ASSERT_TRUE(eventually([&] { return at.woken.load() == round; }));
    at.go.clear();
    for (const process& victim : victims) {
      victim.join();
    }
  }
  at.over.store(1);
  at.again.set();
  live.join();
  EXPECT_EQ(live.exit_status(), exit_status{exited{0}});
}

struct meeting {
  barrier together{3};
  value<int> passed;
  value<int> over;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(together, passed, over);
  }
};

void live_party(meeting at) {
  do {
    at.together.arrive_and_wait();
    at.passed.fetch_add(1);
  } while (at.over.load() == 0);
}
void victim_of_barrier(meeting at, int steps) {
  if (steps != 0) {
    die_after(steps);
  }
  at.together.arrive_and_wait();
}

// S13
TEST_P(StressShared, ABarrierNeverCountsTheDead) {
  meeting at;
  const process live = start(live_party, at);
  const int count = rounds(25);
  for (int round = 1; round <= count; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    ASSERT_TRUE(eventually([&] { return at.together.waiting() == 1; }));
    const process victim = start(victim_of_barrier, at, below(2) == 0 ? 0 : 1 + below(30));
    ASSERT_TRUE(eventually([&] { return at.together.waiting() == 2 || !victim.is_alive(); }));
    victim.kill();
    victim.join();
    if (round == count) {
      at.over.store(1);
    }
    ASSERT_EQ(at.passed.load(), round - 1) << "it went on with the one that died";
    std::jthread in_its_place{
        [&] { EXPECT_NO_THROW(at.together.arrive_and_wait_for(eventually_deadline)); }};
    ASSERT_NO_THROW(at.together.arrive_and_wait_for(eventually_deadline));
    in_its_place.join();
    ASSERT_TRUE(eventually([&] { return at.passed.load() == round; }));
  }
  live.join();
  EXPECT_EQ(live.exit_status(), exit_status{exited{0}});
  EXPECT_FALSE(at.together.broken());
}

struct counter {
  queue<int> items;
  value<int> ready;
  value<int> got;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(items, ready, got);
  }
};

void live_getter(counter at) {
  while (at.items.get_optional()) {
    at.got.fetch_add(1);
  }
}
void victim_getter(counter at, int steps) {
  at.ready.fetch_add(1);
  if (steps != 0) {
    die_after(steps);
  }
  static_cast<void>(at.items.get());
}

// S13
TEST_P(StressShared, AnEmptyQueueFeedsLivingProcesses) {
  counter at;
  const process live = start(live_getter, at);
  const int count = rounds(40);
  int puts = 0;
  int may_be_lost = 0;
  for (int round = 1; round <= count; ++round) {
    const bool gone = below(2) == 0;
    std::vector<process> victims;
    for (int i = 0; i < 3; ++i) {
      victims.push_back(start(victim_getter, at, gone ? 0 : below(60)));
    }
    ASSERT_TRUE(eventually([&] { return at.ready.load() == 3 * round; }));
    if (gone) {
      for (const process& victim : victims) {
        victim.kill();
        victim.join();
      }
    } else {
      may_be_lost += 3;
    }
    const int n = 1 + below(5);
    for (int i = 0; i < n; ++i) {
      at.items.put(i);
    }
    puts += n;
    ASSERT_TRUE(eventually([&] { return at.got.load() >= puts - may_be_lost; }))
        << at.got.load() << " of " << puts << ", " << may_be_lost << " may be lost";
    for (const process& victim : victims) {
      victim.kill();
      victim.join();
    }
  }
  at.items.close();
  live.join();
  EXPECT_EQ(live.exit_status(), exit_status{exited{0}});
  EXPECT_EQ(at.items.size(), 0U);
  EXPECT_GE(at.got.load(), puts - may_be_lost);
}

void live_putter(queue<int> to, int count) {
  for (int i = 0; i < count; ++i) {
    to.put(i);
  }
}
void victim_putter(queue<int> to, value<int> ready, int steps) {
  ready.fetch_add(1);
  if (steps != 0) {
    die_after(steps);
  }
  for (;;) {
    to.put(-1);
  }
}

// S13
TEST_P(StressShared, AFullQueueTakesAllItemsOfLivingProcesses) {
  constexpr int each = 20;
  queue<int> items{2};
  value<int> ready;
  const int count = rounds(40);
  const process live = start(live_putter, items, each * count);
  int expected = 0;
  for (int round = 1; round <= count; ++round) {
    const std::array victims{start(victim_putter, items, ready, below(100)),
                             start(victim_putter, items, ready, 0)};
    ASSERT_TRUE(eventually([&] { return ready.load() == 2 * round; }));
    const int until = each * round;
    const int kill_at = until - below(each);
    while (expected < until) {
      if (expected == kill_at) {
        for (const process& victim : victims) {
          victim.kill();
        }
      }
      const auto item = items.get_for(eventually_deadline);
      ASSERT_TRUE(item) << "no process puts any more";
      if (*item >= 0) {
        ASSERT_EQ(*item, expected);
        ++expected;
      }
    }
    for (const process& victim : victims) {
      victim.kill();
      victim.join();
    }
  }
  live.join();
  EXPECT_EQ(live.exit_status(), exit_status{exited{0}});
}

// ---- queues -------------------------------------------------------------------------------------

constexpr int most_producers = 64;
constexpr int quota = 300;

struct parcel {
  int producer = 0;
  int number = 0;
  std::vector<std::uint32_t> filled;  // each one: stamp()
  template <class Archive>
  void serialize(Archive& ar) {
    ar(producer, number, filled);
  }
  [[nodiscard]] std::uint32_t stamp() const {
    return static_cast<std::uint32_t>(producer * quota + number);
  }
};

/// Counters in shared memory.
struct tally {
  shared_memory memory;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(memory);
  }
  [[nodiscard]] std::atomic_ref<std::uint32_t> at(int index) const {
    auto* const all = reinterpret_cast<std::uint32_t*>(memory.bytes().data());
    return std::atomic_ref<std::uint32_t>{all[index]};
  }
  [[nodiscard]] std::atomic_ref<std::uint32_t> seen(int producer, int number) const {
    return at(producer * quota + number);
  }
  [[nodiscard]] std::atomic_ref<std::uint32_t> put_by(int producer) const {
    return at(most_producers * quota + producer);
  }
  [[nodiscard]] std::atomic_ref<std::uint32_t> torn() const {
    return at(most_producers * quota + most_producers);
  }
};

void produce(queue<parcel> to, const tally& all, int producer, unsigned seed, int steps) {
  std::mt19937 random{seed};
  if (steps != 0) {
    die_after(steps);
  }
  for (int number = 0; number < quota; ++number) {
    parcel one{producer, number, {}};
    one.filled.assign(random() % (random() % 16 == 0 ? 5000 : 50), one.stamp());
    to.put(one);
    all.put_by(producer).store(static_cast<std::uint32_t>(number) + 1);
  }
}

void consume(queue<parcel> from, const tally& all, int steps) {
  if (steps != 0) {
    die_after(steps);
  }
  while (const auto got = from.get_optional()) {
    const bool whole = std::ranges::all_of(
        got->filled, [stamp = got->stamp()](std::uint32_t word) { return word == stamp; });
    if (!whole || got->producer < 0 || got->producer >= most_producers || got->number < 0 ||
        got->number >= quota) {
      all.torn().fetch_add(1);
      continue;
    }
    all.seen(got->producer, got->number).fetch_add(1);
    from.task_done();
  }
}

// S14: half of them die inside of an operation that the seed chose, some from outside.
TEST_P(StressShared, AQueueOfManyLosesAtMostOneItemADeath) {
  const tally all{
      shared_memory{(most_producers * (quota + 1) + 1) * static_cast<int>(sizeof(std::uint32_t))}};
  queue<parcel> items{32};
  const int producers = std::min(most_producers, rounds(60));
  const auto steps = [&] { return below(2) == 0 ? 0 : 1 + below(6'000); };
  const process immortal = start(consume, items, all, 0);
  std::vector<process> consumers(3);
  std::vector<process> at_work(3);
  int dead_consumers = 0;
  int dead_producers = 0;
  for (int id = 0; id < producers; ++id) {
    for (process& one : consumers) {
      if (one && one.is_alive() && below(8) == 0) {
        one.kill();
        one.join();
      }
      if (!one || !one.is_alive()) {
        if (one) {
          one.join();
          dead_consumers += was_killed(one) ? 1 : 0;
        }
        one = start(consume, items, all, steps());
      }
    }
    process& one = at_work[static_cast<std::size_t>(id) % at_work.size()];
    if (one) {
      if (below(8) == 0) {
        one.kill();
      }
      one.join();
      dead_producers += was_killed(one) ? 1 : 0;
    }
    one = start(produce, items, all, id, random_(), steps());
  }
  for (const process& one : at_work) {
    if (one) {
      one.join();
      dead_producers += was_killed(one) ? 1 : 0;
    }
  }
  items.close();
  for (const process& one : consumers) {
    one.join();
    dead_consumers += was_killed(one) ? 1 : 0;
  }
  immortal.join();
  EXPECT_EQ(immortal.exit_status(), exit_status{exited{0}});
  EXPECT_TRUE(items.join_for(eventually_deadline)) << "the dead are still waited for";
  int put = 0;
  int missing = 0;
  for (int id = 0; id < producers; ++id) {
    const int last = static_cast<int>(all.put_by(id).load());
    put += last;
    for (int number = 0; number < quota; ++number) {
      const std::uint32_t times = all.seen(id, number).load();
      // The one after the last may be in the queue: its producer died before it said so.
      ASSERT_LE(times, number <= last ? 1U : 0U) << "producer " << id << ", item " << number;
      missing += number < last && times == 0 ? 1 : 0;
    }
  }
  EXPECT_EQ(all.torn().load(), 0U);
  EXPECT_LE(missing, dead_consumers);
  std::cout << put << " items of " << producers << " producers, " << dead_producers
            << " died; of the consumers " << dead_consumers << ", and " << missing << " items"
            << std::endl;
}

// ---- memory -------------------------------------------------------------------------------------

constexpr int names = 6;

struct memory_game {
  std::string prefix;
  value<int> turns;
  value<int> wrong;
  value<int> over;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(prefix, turns, wrong, over);
  }
  [[nodiscard]] std::string name(int of) const { return prefix + std::to_string(of); }
};

std::uint64_t word_at(int name, std::size_t index) {
  return (static_cast<std::uint64_t>(name) + 1) << 48 | index;
}
std::span<std::uint64_t> words_of(const shared_memory& memory) {
  const auto bytes = memory.bytes();
  return {reinterpret_cast<std::uint64_t*>(bytes.data()), bytes.size() / sizeof(std::uint64_t)};
}

void fill(const shared_memory& memory, int name) {
  const auto all = words_of(memory);
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::atomic_ref{all[i]}.store(word_at(name, i), std::memory_order_relaxed);
  }
}
/// Every word is as its maker wrote it, or not written yet.
bool is_right(const shared_memory& memory, int name) {
  const auto all = words_of(memory);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::uint64_t found = std::atomic_ref{all[i]}.load(std::memory_order_relaxed);
    if (found != 0 && found != word_at(name, i)) {
      return false;
    }
  }
  return true;
}

/// Makes, opens, drops and looks, as the seed says.
void play(memory_game with, unsigned seed) {
  std::mt19937 random{seed};
  std::lognormal_distribution<double> sizes{8.0, 2.0};
  std::array<std::optional<shared_memory>, names> mine;
  while (with.over.load() == 0) {
    const int which = std::uniform_int_distribution{0, names - 1}(random);
    auto& one = mine[static_cast<std::size_t>(which)];
    if (one) {
      if (!is_right(*one, which)) {
        with.wrong.fetch_add(1);
      }
      if (random() % 2 == 0) {
        one.reset();
      }
    } else {
      try {
        if (random() % 2 == 0) {
          const double size = std::min(sizes(random), 1e6);
          one.emplace(8 + static_cast<std::size_t>(size),
                      shared_memory_options{.name = with.name(which)});
          fill(*one, which);
        } else {
          one.emplace(shared_memory::open(with.name(which)));
        }
      } catch (const std::system_error& answer) {
        if (answer.code() != std::errc::file_exists &&
            answer.code() != std::errc::no_such_file_or_directory) {
          throw;
        }
      }
    }
    with.turns.fetch_add(1);
  }
}

bool a_name_is_left(const std::string& prefix) {
  std::error_code gone;
  for (std::filesystem::directory_iterator it{"/dev/shm", gone}, end; !gone && it != end;
       it.increment(gone)) {
    if (it->path().filename().string().starts_with(prefix)) {
      return true;
    }
  }
  return false;
}

// S30
TEST_P(StressShared, NamedMemoryOutlivesItsMakersAndNoNameOutlivesAll) {
  memory_game with;
  with.prefix = unique_name(std::to_string(seed_) + "-");
  std::array players{start(play, with, seed_), start(play, with, seed_ + 1),
                     start(play, with, seed_ + 2)};
  const int kills = rounds(80);
  for (int i = 0; i < kills; ++i) {
    const int next = with.turns.load() + below(100);
    ASSERT_TRUE(eventually([&] { return with.turns.load() >= next; }));
    process& victim = players[static_cast<std::size_t>(below(3))];
    victim.kill();
    victim.join();
    ASSERT_TRUE(was_killed(victim)) << "it died of its memory";
    victim = start(play, with, random_());
  }
  with.over.store(1);
  for (const process& one : players) {
    one.join();
    EXPECT_EQ(one.exit_status(), exit_status{exited{0}});
  }
  EXPECT_EQ(with.wrong.load(), 0);
  EXPECT_TRUE(eventually([&] { return !a_name_is_left(with.prefix); }));
  std::cout << kills << " kills, " << with.turns.load() << " turns" << std::endl;
}

void keep_anonymous(queue<shared_memory> to, queue<shared_memory> from, int name, unsigned seed) {
  std::mt19937 random{seed};
  for (;;) {
    shared_memory made{8 + static_cast<int>(random() % 200'000)};
    fill(made, name);
    to.put(made);
    made = from.get();
    if (!is_right(made, name)) {
      ::_exit(9);
    }
  }
}

// S30: what is under way in a queue belongs to no process that can die.
TEST_P(StressShared, MemoryInAQueueOutlivesItsMaker) {
  const int kills = rounds(60);
  for (int i = 0; i < kills; ++i) {
    queue<shared_memory> to{2};
    queue<shared_memory> from{2};
    const process maker = start(keep_anonymous, to, from, i, random_());
    shared_memory last;
    for (int n = below(6); n >= 0; --n) {
      last = to.get();
      ASSERT_TRUE(is_right(last, i));
      from.put(last);
    }
    maker.kill();
    maker.join();
    ASSERT_TRUE(was_killed(maker));
    fill(last, i);
    ASSERT_TRUE(is_right(last, i));
    while (const auto rest = to.try_get()) {
      ASSERT_TRUE(is_right(*rest, i));
    }
  }
}

}  // namespace
}  // namespace troupe::test
