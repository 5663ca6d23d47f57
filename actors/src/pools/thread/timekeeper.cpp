// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/timekeeper.hpp"

#include "pools/thread/thread_core.hpp"

#include <optional>
#include <system_error>
#include <utility>

namespace troupe::detail {
namespace {

std::shared_ptr<thread_submission> share(thread_submission& one) {
  return std::static_pointer_cast<thread_submission>(one.shared_from_this());
}

}  // namespace

void timekeeper::start_locked() {
  if (started_ || over_) {
    return;
  }
  try {
    start_thread("troupe.time", [core = core_.shared_from_this()] { core->time().keep_time(); });
  } catch (const std::system_error& refused) {
    throw error{errc::resource_exhausted, task_ran::no,
                core_.title() + " has no thread for limits of time: " + refused.what()};
  }
  started_ = true;
}

void timekeeper::start() {
  const mutex_guard lock{mutex_};
  start_locked();
}

template <class Set>
void timekeeper::set(const Set& how) {
  bool first = false;
  {
    const mutex_guard lock{mutex_};
    if (over_) {
      return;
    }
    start_locked();
    const auto before = limits_.next();
    how(limits_);
    first = limits_.next() != before;
  }
  if (first) {
    flag_.wake();
  }
}

void timekeeper::begin_attempt(thread_submission& of, std::uint32_t item, std::uint32_t attempt) {
  set([&](task_limits& all) {
    all.begin_attempt(share(of), item, attempt, std::chrono::steady_clock::now(),
                      *of.options().timeout, core_.grace_of(of));
  });
}

void timekeeper::end_attempt(const thread_submission& of, std::uint32_t item,
                             std::uint32_t attempt) {
  std::shared_ptr<thread_submission> kept;  // destroyed without the lock
  const mutex_guard lock{mutex_};
  kept = limits_.end_attempt(of, item, attempt);
}

void timekeeper::set_deadline(const std::shared_ptr<thread_submission>& of, steady_time when) {
  set([&](task_limits& all) { all.set_deadline(of, when, core_.grace_of(*of)); });
  if (of->done()) {
    end_deadline(*of);  // the end of the submission may have looked for the limit before it was set
  }
}

void timekeeper::end_deadline(const thread_submission& of) {
  std::shared_ptr<thread_submission> kept;
  const mutex_guard lock{mutex_};
  kept = limits_.end_deadline(of);
}

void timekeeper::give_up_after(const std::shared_ptr<thread_submission>& which,
                               std::chrono::milliseconds grace) {
  set([&](task_limits& all) {
    all.give_up_at(which, later(std::chrono::steady_clock::now(), grace));
  });
}

void timekeeper::try_again_after(const std::shared_ptr<thread_submission>& which,
                                 std::uint32_t item, std::chrono::milliseconds delay) {
  set([&](task_limits& all) {
    all.try_again_at(which, item, later(std::chrono::steady_clock::now(), delay));
  });
}

void timekeeper::let_idle_go_after(std::chrono::milliseconds time) {
  set([&](task_limits& all) { all.let_idle_go_at(later(std::chrono::steady_clock::now(), time)); });
}

void timekeeper::end() {
  task_limits unneeded;  // destroyed without the lock
  {
    const mutex_guard lock{mutex_};
    over_ = true;
    std::swap(limits_, unneeded);
  }
  flag_.wake();
}

void timekeeper::keep_time() {
  while (conclude_next()) {
  }
}

bool timekeeper::conclude_next() {
  for (;;) {
    const std::uint32_t seen = flag_.look();
    std::optional<concluding_threads::note> concluding;
    std::optional<task_limits::due> due;
    deadline next;
    {
      const mutex_guard lock{mutex_};
      if (over_) {
        return false;
      }
      next = limits_.next();
      const auto now = std::chrono::steady_clock::now();
      if (next && *next <= now) {
        concluding.emplace(core_.concluding());  // before the limit is removed
        due = limits_.take(now);
      }
    }
    if (due) {
      core_.outcomes().reach(*due);
      due.reset();  // may destroy objects of the user: while this thread counts as concluding
      return true;
    }
    flag_.sleep(seen, next);
  }
}

}  // namespace troupe::detail
