// SPDX-License-Identifier: BSD-3-Clause
// Random schedules of one pool's supervisor: users submit and cancel, workers come up, work, die
// and hang, their tasks submit tasks and wait for them, and time passes, in any order. Whatever
// happens, each item gets exactly one outcome.
//
//   TROUPE_SCHEDULE_SEED=17      replays that one
//   TROUPE_SCHEDULES=100000      runs so many instead of ten thousand (with a sanitizer, two thousand)
#include "support/fake_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

using namespace std::chrono_literals;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t default_schedules = 2'000;
#else
constexpr std::uint64_t default_schedules = 10'000;
#endif

struct map_group final : detail::submission_group {
  void submission_done(detail::process_submission&) override { ++ended; }
  std::size_t submissions = 0;
  std::size_t ended = 0;
};

class SupervisorSchedules : public FakePool {
 protected:
  void run_schedule(std::uint64_t seed) {
    random_.seed(seed);
    tasks_.clear();
    groups_.clear();
    opened_.clear();
    waits_for_.clear();
    last_ticket_ = 0;
    host_ = std::make_shared<fake_worker_host>();
    restarts_left_ = one_of(4) != 0;
    begin(options());
    // Mostly a pool that has started: one that does not has little to tell.
    if (one_of(8) != 0) {
      host_->come_up();
    }
    const int steps = 20 + static_cast<int>(one_of(100));
    for (int i = 0; i < steps; ++i) {
      step();
    }
    finish();
    check();
    pool_.reset();
  }

 private:
  std::uint64_t one_of(std::uint64_t n) { return random_() % n; }
  bool chance(std::uint64_t of) { return one_of(of) == 0; }

  pool_options options() {
    pool_options made;
    made.workers = 1 + static_cast<int>(one_of(3));
    made.concurrency = chance(4) ? 3 : 1;
    if (chance(4)) {
      made.min_workers = 1;
      made.max_workers = 1 + static_cast<int>(one_of(4));
      made.idle_timeout = 20ms;
    }
    if (chance(4)) {
      made.max_tasks_per_worker = 1 + static_cast<int>(one_of(4));
    }
    if (chance(6)) {
      made.max_worker_age = 50ms;
    }
    if (chance(6)) {
      made.max_queued = 5;
    }
    if (chance(3)) {
      made.task_defaults = how();  // of tasks of tasks
    }
    made.grace = 10ms;
    made.start_timeout = 100ms;
    made.restart.intensity = restarts_left_ ? 10'000 : 3;
    made.restart.start_attempts = restarts_left_ ? 10'000 : 2;
    return made;
  }

  task_options how() {
    task_options made;
    if (chance(3)) {
      made.retries = 1 + static_cast<int>(one_of(2));
      made.backoff = std::chrono::milliseconds{one_of(3) * 5};
    }
    if (chance(4)) {
      made.timeout = std::chrono::milliseconds{1 + one_of(30)};
    }
    if (chance(4)) {
      made.deadline = std::chrono::milliseconds{1 + one_of(60)};
    }
    made.priority = static_cast<int>(one_of(3)) - 1;
    if (chance(5)) {
      made.affinity = std::string(1, static_cast<char>('a' + one_of(2)));
    }
    return made;
  }

  void submit_some() {
    std::vector<std::string> items(chance(2) ? 1 : 1 + one_of(8), "x");
    std::shared_ptr<map_group> group;
    if (chance(3)) {
      if (groups_.empty() || chance(2)) {
        groups_.push_back(std::make_shared<map_group>());
        groups_.back()->all_or_nothing = !chance(3);
      }
      group = groups_.back();
    }
    try {
      if (auto made = submit(items, how(), group)) {
        if (group) {
          ++group->submissions;
        }
        tasks_.push_back(std::move(made));
      }
    } catch (const error&) {
      // The pool has ended, or is broken.
    }
  }

  /// Something happens to one worker.
  void worker_step() {
    const auto all = host_->workers();
    if (all.empty()) {
      return;
    }
    fake_worker& one = *all[one_of(all.size())];
    if (one.ended()) {
      return;
    }
    if (one.launched()) {
      chance(12) ? one.refuse_to_start(EAGAIN) : one.start();
    } else if (one.got(SIGKILL)) {
      one.die_of(SIGKILL);
    } else if (!one.has_channel() || chance(40)) {
      one.die_of(SIGSEGV);
    } else if (chance(80)) {
      one.close_channel();
    } else if (!one.greeted()) {
      one.say_hello();
    } else if (!one.ready()) {
      chance(15) ? one.exit(3) : one.say_ready();
    } else if (chance(100)) {
      one.talk_nonsense();
    } else {
      task_step(one);
    }
  }

  void task_step(fake_worker& one) {
    one.read();
    const auto most = static_cast<std::size_t>(pool_->options().concurrency);
    if (one.claimed().size() < most && !chance(4) && one.claim()) {
      return;
    }
    if (one.claimed().empty()) {
      if (one.told_to_stop() || (one.got(SIGTERM) && chance(2))) {
        one.exit(0);
      }
      return;
    }
    const auto which = one.claimed()[one_of(one.claimed().size())];
    if (chance(6)) {
      submit_from(one, which.number);
    } else if (last_ticket_ > 0 && chance(10)) {
      one.cancel_submission(last_ticket_);
    } else if (chance(8)) {
      one.give_failure(which.number, errc::task_failed, "thrown");
    } else if (chance(4)) {
      one.give_unheard(which.number, which.arguments, 2us);
    } else {
      one.give(which.number, which.arguments,
               std::chrono::nanoseconds{chance(2) ? 2'000 : 2'000'000});
    }
  }

  /// That task of the worker submits one.
  void submit_from(fake_worker& one, std::uint64_t task) {
    if (opened_.insert(one.id()).second) {
      one.open_outcomes();
    }
    one.submit(++last_ticket_, "x");
    waits_for_[last_ticket_] = {one.id(), task};
  }

  /// As let_all_work, but some tasks submit tasks, and those that have end when these have ended.
  void let_all_work_and_wait() {
    for (bool some = true; some;) {
      some = let_killed_die() || host_->come_up();
      for (fake_worker* const one : host_->workers()) {
        some = (one->running() && one->has_channel() && works_and_waits(*one)) || some;
      }
    }
  }
  bool works_and_waits(fake_worker& one) {
    bool some = false;
    while (const auto ended = one.outcome()) {
      waits_for_.erase(ended->first);
      some = true;
    }
    const auto claimed = one.claimed();
    for (const fake_worker::task& task : claimed) {
      const bool waits = std::any_of(waits_for_.begin(), waits_for_.end(), [&](const auto& each) {
        return each.second == std::pair{one.id(), task.number};
      });
      if (!waits) {
        one.give(task.number, task.arguments);
        host_->run();
        some = true;
      }
    }
    if (one.claimed().size() >= static_cast<std::size_t>(pool_->options().concurrency)) {
      return some;
    }
    if (const auto begun = one.claim()) {
      some = true;
      for (; submissions_left_ > 0 && chance(2); --submissions_left_) {
        submit_from(one, begun->number);
      }
    } else if (one.told_to_stop() && one.claimed().empty()) {
      one.exit(0);
      some = true;
    }
    host_->run();
    return some;
  }

  void step() {
    switch (one_of(16)) {
      case 0:
      case 1:
      case 2:
        submit_some();
        break;
      case 3:
        if (!tasks_.empty()) {
          tasks_[one_of(tasks_.size())]->cancel(chance(2));
        }
        break;
      case 4:
        host_->advance(std::chrono::milliseconds{one_of(15)});
        break;
      case 5:
        if (!groups_.empty() && chance(4)) {
          pool_->cancel_group(groups_[one_of(groups_.size())]);
        }
        break;
      case 6:
        if (chance(6)) {
          try {
            pool_->resize(1 + static_cast<int>(one_of(4)));
          } catch (const error&) {
            // As above.
          }
        }
        break;
      case 7:
        if (chance(40)) {
          chance(2) ? pool_->close() : pool_->terminate();
        } else if (chance(40)) {
          pool_->cancel_waiting();
        }
        break;
      default:
        worker_step();
        break;
    }
    if (!chance(4)) {
      host_->run();  // otherwise the supervisor hears of it later, with what comes then
    }
  }

  /// The pool ends, in one of its ways, and from now on workers do what they are told.
  void finish() {
    host_->run();
    bool with_waits = false;
    switch (one_of(4)) {
      case 0:
        pool_->close();
        break;
      case 1:
        submissions_left_ = 20;
        with_waits = true;
        pool_->close();
        break;
      case 2:
        pool_->terminate();
        break;
      default:
        pool_->kill();
        break;
    }
    for (int i = 0; i < 500 && !finished(); ++i) {
      with_waits ? let_all_work_and_wait() : let_all_work();
      for (fake_worker* const one : host_->workers()) {
        if (one->running() && !one->has_channel()) {
          one->die_of(SIGSEGV);
          break;
        }
        if (one->running() && one->has_channel() && !one->ready()) {
          if (!one->greeted()) {
            one->say_hello();
          }
          one->say_ready();
        }
      }
      host_->advance(20ms);
    }
    ASSERT_TRUE(finished()) << "the pool does not end: " << describe();
  }

  std::string describe() {
    const pool_stats stats = pool_->stats();
    std::string text = std::to_string(stats.queued) + " items wait, " +
                       std::to_string(stats.running) + " are with workers";
    for (fake_worker* const one : host_->workers()) {
      text += "; worker " + std::to_string(one->id()) + (one->launched() ? " launched" : "") +
              (one->ended() ? " ended" : "") + (one->has_channel() ? "" : " without channel") +
              (one->ready() ? " ready" : "") + (one->told_to_stop() ? " told to stop" : "") +
              " has claimed " + std::to_string(one->claimed().size());
      for (const int signal : one->signals()) {
        text += ", got " + std::to_string(signal);
      }
    }
    return text;
  }

  void check() {
    std::uint64_t items = 0;
    for (const submitted& task : tasks_) {
      ASSERT_TRUE(task->done()) << task->name() << " has no outcome";
      items += task->count;
      for (std::uint32_t item = 0; item < task->count; ++item) {
        ASSERT_TRUE(task->decided(item));
        if (task->item_failure(item) == nullptr) {
          ASSERT_EQ(value(task, item), "x");
        }
      }
    }
    for (const auto& group : groups_) {
      ASSERT_EQ(group->ended, group->submissions);
    }
    const pool_stats stats = pool_->stats();
    ASSERT_GE(stats.submitted, items);
    ASSERT_LE(stats.submitted, items + last_ticket_) << "tasks of tasks count, too";
    ASSERT_EQ(stats.succeeded + stats.failed + stats.cancelled, stats.submitted)
        << "an item had two outcomes, or none: " << stats.succeeded << " succeeded, "
        << stats.failed << " failed, " << stats.cancelled << " cancelled";
    ASSERT_EQ(stats.queued, 0U);
    ASSERT_EQ(stats.running, 0U);
    ASSERT_EQ(stats.workers, 0U);
    ASSERT_EQ(host_->workers().size(), 0U);
    ASSERT_EQ(host_->pools_ended(), 1);
  }

  std::mt19937_64 random_;
  bool restarts_left_ = true;
  std::set<std::uint64_t> opened_;  // workers whose tasks have submitted tasks
  std::uint64_t last_ticket_ = 0;   // of those
  int submissions_left_ = 0;        // by tasks, while the pool ends
  /// By ticket: the worker whose task has submitted it, and the number of that task.
  std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> waits_for_;
  std::vector<submitted> tasks_;
  std::vector<std::shared_ptr<map_group>> groups_;
};

TEST_F(SupervisorSchedules, GiveEachItemExactlyOneOutcome) {
  if (const char* const seed = std::getenv("TROUPE_SCHEDULE_SEED")) {
    run_schedule(std::strtoull(seed, nullptr, 10));
    return;
  }
  const char* const wanted = std::getenv("TROUPE_SCHEDULES");
  const std::uint64_t count =
      wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : default_schedules;
  for (std::uint64_t seed = 1; seed <= count; ++seed) {
    SCOPED_TRACE("replay with TROUPE_SCHEDULE_SEED=" + std::to_string(seed));
    run_schedule(seed);
    if (HasFatalFailure()) {
      return;
    }
  }
}

}  // namespace
}  // namespace troupe::test
