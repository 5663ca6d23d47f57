// SPDX-License-Identifier: BSD-3-Clause
// The two sides of a queue: a process that puts and one that takes do not wait for each other, and
// when one of them dies at any step, the other one goes on with what is there.
#include "troupe/queue.hpp"

#include "shared/core/crash_step.hpp"
#include "support/eventually.hpp"
#include "support/forked.hpp"
#include "support/no_leaks.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#if defined(TROUPE_FAILPOINTS) && TROUPE_FAILPOINTS

namespace troupe {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::eventually_deadline;
using test::forked;
using text_queue = queue<std::string>;
using texts = std::vector<std::string>;

class QueueSides : public test::no_leaks {
 protected:
  QueueSides() : no_leaks{120s} {
    // The first shared object of a process sets up what all use.
    static_cast<void>(text_queue{}.size());
    take_baseline();
  }
};

std::atomic<long> steps_left{0};

void signal_this_process_at(long step, int number) {
  static std::atomic<int> what{0};
  steps_left = step;
  what = number;
  detail::crash_hook = [] {
    if (steps_left-- == 0) {
      ::kill(::getpid(), what);
    }
  };
}

texts drain(text_queue& q) {
  texts all;
  while (auto item = q.try_get()) {
    all.push_back(std::move(*item));
  }
  return all;
}

/// Calls `act` in children that stop at their first, second, ... step, and `meanwhile` while each is
/// stopped; its answer ends the test if it is false. Then the child goes on.
void stop_at_every_step(const std::function<text_queue()>& prepare,
                        const std::function<void(text_queue&)>& act,
                        const std::function<bool(text_queue&)>& meanwhile,
                        const std::function<void(text_queue&)>& check) {
  for (long step = 0;; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    text_queue q = prepare();
    forked child{[&] {
      signal_this_process_at(step, SIGSTOP);
      act(q);
      return 0;
    }};
    siginfo_t seen{};
    ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child.pid()), &seen, WSTOPPED | WEXITED | WNOWAIT),
              0);
    if (seen.si_code != CLD_STOPPED) {
      EXPECT_EQ(child.wait(), 0);
      EXPECT_GT(step, 5) << "the hook was not called";
      return;
    }
    const bool went_on = meanwhile(q);
    child.signal(SIGCONT);
    EXPECT_EQ(child.wait(), 0);
    ASSERT_TRUE(went_on) << "it waited for a process that was stopped";
    check(q);
  }
}

/// Whether a process of its own has done it before the deadline.
bool can_be_done(const std::function<void()>& what) {
  queue<int> done;
  forked child{[&] {
    what();
    done.put(1);
    return 0;
  }};
  return done.get_for(eventually_deadline).has_value();
}

text_queue with_items(const texts& items, std::size_t capacity = 0) {
  text_queue q{capacity};
  q.put_range(items);
  return q;
}

TEST_F(QueueSides, WhoPutsWaitsForNoProcessThatTakes) {
  stop_at_every_step([] { return with_items({"a", "b"}); },
                     [](text_queue& q) { static_cast<void>(q.get()); },
                     [](text_queue& q) { return can_be_done([&] { q.put("c"); }); },
                     [](text_queue& q) { ASSERT_EQ(drain(q), (texts{"b", "c"})); });
}

TEST_F(QueueSides, WhoTakesWaitsForNoProcessThatPuts) {
  stop_at_every_step([] { return with_items({"a", "b"}); }, [](text_queue& q) { q.put("c"); },
                     [](text_queue& q) { return can_be_done([&] { ASSERT_EQ(q.get(), "a"); }); },
                     [](text_queue& q) { ASSERT_EQ(drain(q), (texts{"b", "c"})); });
}

/// Calls `act` in children that die at their first, second, ... step, and then `check`, with whether
/// the child came to the end.
void die_at_every_step(const std::function<text_queue()>& prepare,
                       const std::function<void(text_queue&)>& act,
                       const std::function<void(text_queue&, bool)>& check) {
  for (long step = 0;; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    ASSERT_LT(step, 1000);
    text_queue q = prepare();
    forked child{[&] {
      signal_this_process_at(step, SIGKILL);
      act(q);
      return 0;
    }};
    const bool ended = child.wait() == 0;
    check(q, ended);
    if (ended || testing::Test::HasFatalFailure()) {
      EXPECT_GT(step, 5) << "the hook was not called";
      return;
    }
  }
}

TEST_F(QueueSides, APutAfterADeathInATakeIsRight) {
  die_at_every_step(
      [] { return with_items({"a", "b"}); }, [](text_queue& q) { static_cast<void>(q.get()); },
      [](text_queue& q, bool ended) {
        q.put("c");
        const texts now = drain(q);
        ASSERT_TRUE(now == (texts{"b", "c"}) || (!ended && now == (texts{"a", "b", "c"})))
            << now.size();
      });
}

TEST_F(QueueSides, ATakeAfterADeathInAPutIsRight) {
  die_at_every_step([] { return with_items({"a", "b"}); }, [](text_queue& q) { q.put("c"); },
                    [](text_queue& q, bool ended) {
                      ASSERT_EQ(q.get(), "a");
                      const texts now = drain(q);
                      ASSERT_TRUE(now == (texts{"b", "c"}) || (!ended && now == (texts{"b"})))
                          << now.size();
                    });
}

TEST_F(QueueSides, TheRoomOfAnItemThatADeadProcessTookIsThere) {
  die_at_every_step([] { return with_items({"a", "b"}, 2); },
                    [](text_queue& q) { static_cast<void>(q.get()); },
                    [](text_queue& q, bool ended) {
                      const bool has_room = q.try_put("c");
                      ASSERT_TRUE(has_room || !ended);
                      ASSERT_EQ(drain(q), has_room ? (texts{"b", "c"}) : (texts{"a", "b"}));
                    });
}

TEST_F(QueueSides, ADeathWhileRecordsBeginAnewLosesNothing) {
  const std::string large(40'000, 'x');
  const auto used_before = [&] {
    text_queue q = with_items({large, "a"});
    static_cast<void>(drain(q));
    return q;
  };
  die_at_every_step(
      used_before, [&](text_queue& q) { q.put(large); },
      [&](text_queue& q, bool ended) {
        q.put("b");
        const texts now = drain(q);
        ASSERT_TRUE(now == (texts{large, "b"}) || (!ended && now == (texts{"b"}))) << now.size();
      });
}

TEST_F(QueueSides, JoinWaitsForNoItemThatADeadProcessTook) {
  die_at_every_step([] { return with_items({"a", "b"}); },
                    [](text_queue& q) {
                      static_cast<void>(q.get());
                      q.task_done();
                    },
                    [](text_queue& q, bool /*ended*/) {
                      for (std::size_t left = drain(q).size(); left != 0; --left) {
                        q.task_done();
                      }
                      ASSERT_TRUE(q.join_for(eventually_deadline));
                    });
}

// Each of the two sleeps again and again, and is woken by the other.
TEST_F(QueueSides, WakeEachOther) {
  constexpr int items = 2000;
  queue<int> there{1};
  queue<int> back{1};
  forked echo{[&] {
    for (int i = 0; i < items; ++i) {
      back.put(there.get());
    }
    return 0;
  }};
  forked writer{[&] {
    for (int i = 0; i < items; ++i) {
      there.put(i);
    }
    return 0;
  }};
  for (int i = 0; i < items; ++i) {
    ASSERT_EQ(back.get(), i);
  }
  EXPECT_EQ(writer.wait(), 0);
  EXPECT_EQ(echo.wait(), 0);
}

}  // namespace
}  // namespace troupe

#endif
