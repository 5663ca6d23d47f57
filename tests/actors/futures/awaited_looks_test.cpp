// SPDX-License-Identifier: BSD-3-Clause
// How often a thread that waits for several futures, one after the other, looks at each.
#include "troupe/detail/future_state.hpp"
#include "troupe/thread_pool.hpp"
#include "troupe/wait.hpp"

#include "futures/waiting.hpp"
#include "support/eventually.hpp"
#include "support/sleeper.hpp"
#include "support/watchdog.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

using again = awaited_looks::again;

/// A future of no pool that the test fulfils, and that counts the looks at it.
class counted_state final : public future_state {
 public:
  void fulfil() { finish(nullptr); }
  void each_value(const std::function<void(std::span<const std::byte>)>&) const override {}
  bool cancel(bool /*force*/) override { return false; }
  [[nodiscard]] bool running() const override { return true; }
  bool any_source(const source_visitor&) const override {
    ++looks;
    return false;
  }
  void need() const override { ++needs; }

  mutable std::atomic<int> looks{0};
  mutable std::atomic<int> needs{0};

 protected:
  [[nodiscard]] executor callbacks() const override {
    return [](const std::function<void()>& function) {
      if (function) {
        function();
      }
    };
  }
};

using states = std::vector<std::shared_ptr<counted_state>>;

states make(int count) {
  states made;
  for (int i = 0; i < count; ++i) {
    made.push_back(std::make_shared<counted_state>());
  }
  return made;
}

// ---- the rule -----------------------------------------------------------------------------------

struct AwaitedLooks : testing::Test {
  states all = make(4);
  awaited_looks looks{{all.begin(), all.end()}};
  /// The positions that are looked at; `how` says what each look finds.
  std::vector<int> look(
      const awaited_looks::news& now,
      const std::function<std::optional<again>(int)>& how = [](int) { return again::never; }) {
    std::vector<int> seen;
    looks.look_at_left(now, [&](const future_state& one) {
      int at = 0;
      while (all[static_cast<std::size_t>(at)].get() != &one) {
        ++at;
      }
      seen.push_back(at);
      return how(at);
    });
    return seen;
  }
};
using positions = std::vector<int>;

TEST_F(AwaitedLooks, TakeOneForEachInTheirOrder) {
  EXPECT_EQ(look({}), (positions{0, 1, 2, 3}));
  EXPECT_EQ(look({}), positions{});
  EXPECT_EQ(look({.of_pool = 1, .of_futures = 1}), positions{});
}

TEST_F(AwaitedLooks, TakeAnotherForWhatMayHaveToRunWhenThereIsNews) {
  const auto odd_ones = [](int at) { return at % 2 == 1 ? again::with_news : again::never; };
  EXPECT_EQ(look({}, odd_ones), (positions{0, 1, 2, 3}));
  EXPECT_EQ(look({}, odd_ones), positions{});
  EXPECT_EQ(look({.of_pool = 1}, odd_ones), (positions{1, 3}));
  EXPECT_EQ(look({.of_pool = 1, .of_futures = 1}), (positions{1, 3}));
  EXPECT_EQ(look({.of_pool = 2, .of_futures = 2}), positions{});
}

TEST_F(AwaitedLooks, GoOnWhereOneWasBrokenOff) {
  const auto not_the_third = [](int at) {
    return at == 2 ? std::nullopt : std::optional{again::never};
  };
  EXPECT_EQ(look({}, not_the_third), (positions{0, 1, 2}));
  EXPECT_EQ(look({}), (positions{2, 3}));
}

TEST_F(AwaitedLooks, LeaveOutWhatHasEndedOrIsGone) {
  all[1]->fulfil();
  all[2] = nullptr;
  EXPECT_EQ(look({}), (positions{0, 3}));
}

TEST_F(AwaitedLooks, TakeAnotherForWhatHasGotOtherSources) {
  look({});
  looks.add(all[2]);
  EXPECT_EQ(look({}), positions{2});
}

TEST_F(AwaitedLooks, KnowCoroutinesUntilTheyHaveEnded) {
  EXPECT_FALSE(looks.has_coroutines());
  looks.note_coroutine(all[1]);
  looks.note_coroutine(all[2]);
  looks.note_coroutine(all[1]);
  all[1]->fulfil();
  EXPECT_TRUE(looks.has_coroutines());
  all[2]->fulfil();
  EXPECT_FALSE(looks.has_coroutines());
}

// ---- who uses it --------------------------------------------------------------------------------

/// Issue 11: the looks of all waits together grew with the square of the number of futures.
struct LooksOfWaits : testing::Test {
  static constexpr int count = 500;
  const test::watchdog limit{std::chrono::seconds{60}};
  states all = make(count);

  [[nodiscard]] std::vector<future<void>> futures() const {
    std::vector<future<void>> made;
    for (const auto& one : all) {
      made.push_back(future_access::local<void>(one, [](const future_state&) {}));
    }
    return made;
  }
  /// The last one first, and each only when the one before it was given.
  void take_all(std::vector<future<void>> from) {
    std::size_t given = 0;
    const std::jthread ends{[this] {
      for (std::size_t i = 0; i < all.size(); ++i) {
        for (std::size_t now = given_; now < i; now = given_) {
          given_.wait(now);
        }
        std::this_thread::yield();  // the other one is about to wait
        all[all.size() - 1 - i]->fulfil();
      }
    }};
    for (const auto& one : as_completed(std::move(from))) {
      static_cast<void>(one);
      given_ = ++given;
      given_.notify_all();
    }
    EXPECT_EQ(given, all.size());
  }
  [[nodiscard]] int sum(std::atomic<int> counted_state::* of) const {
    int found = 0;
    for (const auto& one : all) {
      found += ((*one).*of).load();
    }
    return found;
  }
  std::atomic<std::size_t> given_{0};
};

TEST_F(LooksOfWaits, InATaskGrowWithTheNumberOfFuturesOfOthers) {
  thread_pool p{{.workers = 1}};
  p.apply([&] { take_all(futures()); });
  // One to find what it may run, and a few before each sleep: of those that may end first.
  EXPECT_LE(sum(&counted_state::looks), 8 * count);
}

TEST_F(LooksOfWaits, InATaskGrowWithTheNumberOfWhatFollowsThose) {
  thread_pool p{{.workers = 1}};
  p.apply([&] {
    std::vector<future<void>> follow;
    for (const auto& one : futures()) {
      follow.push_back(one.then([] {}));
    }
    take_all(std::move(follow));
  });
  EXPECT_LE(sum(&counted_state::looks), 8 * count);
}

TEST_F(LooksOfWaits, InACallbackGrowWithTheNumberOfFutures) {
  thread_pool p{{.workers = 1}};
  p.apply_async([] {}).then([&] { take_all(futures()); }).get();
  EXPECT_LE(sum(&counted_state::needs), count);
}

/// Ends only after `source`, and calls a function when it is looked at first.
class state_after final : public future_state {
 public:
  state_after(std::shared_ptr<future_state> source, std::function<void()> at_look)
      : source_{std::move(source)}, at_look_{std::move(at_look)} {}
  void each_value(const std::function<void(std::span<const std::byte>)>&) const override {}
  bool cancel(bool /*force*/) override { return false; }
  [[nodiscard]] bool running() const override { return true; }
  bool any_source(const source_visitor& visit) const override {
    if (const auto once = std::exchange(at_look_, nullptr)) {
      once();
    }
    return visit(source_);
  }

 protected:
  [[nodiscard]] executor callbacks() const override { return {}; }

 private:
  std::shared_ptr<future_state> source_;
  mutable std::function<void()> at_look_;
};

/// Holds the thread that tells of an end, before others are told.
struct slow_listener final : completion_listener {
  std::latch told{1};
  std::latch goes_on{1};
  void completed(future_state&) noexcept override {
    told.count_down();
    goes_on.wait();
  }
};

/// A wait for the first of several threw would_deadlock if the one that could end had just ended.
TEST(WaitForTheFirst, IsNotStuckIfOneHasEndedAndIsNotTold) {
  const test::watchdog limit{std::chrono::seconds{60}};
  thread_pool p{{.workers = 1}};
  const auto ends = std::make_shared<counted_state>();
  const auto slow = std::make_shared<slow_listener>();
  ASSERT_TRUE(ends->listen(slow));
  std::jthread ending;
  test::sleeper waiting;
  std::latch known{1};
  future<std::size_t> own;
  own = p.apply_async([&]() -> std::size_t {
    known.wait();
    const auto after_own = std::make_shared<state_after>(future_access::state(own), [&] {
      ending = std::jthread{[&] { ends->fulfil(); }};
      slow->told.wait();  // from here on `ends` has ended, and this wait is not told
      waiting.is_this_thread();
    });
    const auto of = [](std::shared_ptr<future_state> one) {
      return future_access::local<void>(std::move(one), [](const future_state&) {});
    };
    const auto [done, pending] =
        troupe::wait(std::vector{of(after_own), of(ends)}, return_when::first_completed);
    return done.size();
  });
  known.count_down();
  EXPECT_TRUE(waiting.sleeps());
  slow->goes_on.count_down();
  EXPECT_EQ(own.get(), 1U);
}

}  // namespace
}  // namespace troupe::detail
