// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/thread_worker.hpp"

#include "troupe/detail/continuation.hpp"

#include "base/thread_owned.hpp"
#include "pools/thread/state/local_task.hpp"
#include "pools/thread/thread_core.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

namespace troupe::detail {
namespace {

/// How many tasks may wait for tasks of their own pool on the stack of one thread.
constexpr int max_depth = 64;
/// How often a worker without tasks yields before it sleeps. A thread that submits small tasks one
/// by one mostly finds it awake, which saves both the system call: a round trip costs 7 us instead
/// of 14, and twice as many tasks go through.
constexpr int looks_before_sleep = 16;

bool is_over(const deadline& until) {
  return until && *until <= std::chrono::steady_clock::now();
}

/// A thread_local of each worker's thread, made before all others, so its destructor runs last. The
/// thread that joins the pool waits for it, and so for the destructors of the user's, too.
struct departure {
  std::shared_ptr<thread_core> from;
  ~departure() {
    if (from) {
      from->crew().departed();
    }
  }
};

}  // namespace

thread_worker* thread_worker::here(const thread_core& pool) noexcept {
  auto* const here = dynamic_cast<thread_worker*>(wait_helper::of_this_thread());
  return here != nullptr && &here->core_ == &pool ? here : nullptr;
}

void thread_worker::live() {
  thread_owned<departure>::get()->from = core_.shared_from_this();
  const std::exception_ptr problem = begin();
  wait_helper::of_this_thread() = this;
  core_.scheduler().initialized(seat_, problem);
  if (!problem) {
    take_turns();
  }
  leave();
}

std::exception_ptr thread_worker::begin() {
  seat_.thread_id = ::gettid();
  try {
    if (core_.options().initializer) {
      core_.options().initializer();
    }
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

void thread_worker::leave() {
  wait_helper::of_this_thread() = nullptr;
  seat_.bell->set_poke(nullptr);
  bool last = false;
  const auto seat = core_.scheduler().leave(seat_, last);
  if (last) {
    core_.time().end();
  }
}

void thread_worker::take_turns() {
  using step = thread_scheduler::step;
  claimed_items work;
  for (int patience = 0;;) {
    // Both are destroyed at the end of the turn: without the lock, and not while it rests.
    const claimed_items finished = std::move(work);
    released_submissions released;
    work = {};
    const thread_submission* ended = finished.submission.get();
    if (loop_) {
      if (ended != nullptr) {
        // Before a coroutine runs on: it may take long, or wait for the end of this map.
        core_.crew().stopped_running(seat_, *std::exchange(ended, nullptr));
      }
      loop_->run_ready();
    }
    const bool looping = loop_ && loop_->active() > 0;
    const bool leftovers = !looping && loop_ && loop_->has_work();
    const std::uint32_t seen = seat_.bell->look();
    switch (core_.scheduler().next(seat_,
                                   {.finished = ended,
                                    .holds = finished.submission != nullptr,
                                    .may_begin = may_begin_more(),
                                    .looping = looping,
                                    .leftovers = leftovers,
                                    .patient = patience > 0},
                                   work, released)) {
      case step::let_go:
        break;
      case step::look_again:
        while (patience > 0) {
          --patience;
          ::sched_yield();
          if (!core_.scheduler().looks_empty()) {
            break;
          }
        }
        break;
      case step::loop:
        if (seat_.bell->look() == seen) {
          loop_->wait({});
        }
        core_.scheduler().stop_lending(seat_);
        break;
      case step::sleep:
        seat_.bell->sleep(seen);
        break;
      case step::leave:
        return;
      case step::run:
        patience = looks_before_sleep;
        if (work.submission->is_coroutine()) {
          begin_coroutine(work.submission, work.first, work.again);
          work = {};  // the coroutine keeps its submission, and counts as running until it ends
        } else {
          run_claimed(work, nullptr, std::nullopt);
        }
        break;
    }
  }
}

// ---- tasks -------------------------------------------------------------------------------------

bool thread_worker::may_begin_more() const {
  return !loop_ || loop_->active() < static_cast<std::size_t>(core_.options().concurrency);
}

void thread_worker::note_busy() {
  seat_.busy.store(
      static_cast<std::uint32_t>(depth_) + static_cast<std::uint32_t>(loop_ ? loop_->active() : 0),
      std::memory_order_relaxed);
}

void thread_worker::run_claimed(claimed_items& work, const future_state* awaited,
                                const deadline& until) {
  thread_submission& submission = *work.submission;
  const std::shared_ptr<thread_group> group =
      submission.group;  // kept alive: it drops its submissions when all are done
  if (!group) {
    run_item(submission, work.first, work.again);
    return;
  }
  const auto begun = std::chrono::steady_clock::now();
  std::int64_t items = 0;
  for (;;) {
    for (std::uint32_t i = 0; i < work.count; ++i) {
      run_item(submission, work.first + i, work.again);
    }
    work.again = false;
    items += work.count;
    // Items that are not claimed are in the queue for all workers. Claiming the next one of this
    // submission needs no lock.
    if (core_.scheduler().overtakes(submission.options().priority, seat_) ||
        (awaited != nullptr && (awaited->done() || is_over(until)))) {
      break;
    }
    work.first = submission.claim();
    if (work.first >= submission.count()) {
      break;
    }
    work.count = std::min(submission.task_range, submission.count() - work.first);
    core_.scheduler().note_claimed(work.count);
  }
  const auto taken = std::chrono::steady_clock::now() - begun;
  group->mean_ns.store(
      std::max<std::int64_t>(
          1, std::chrono::duration_cast<std::chrono::nanoseconds>(taken).count() / items),
      std::memory_order_relaxed);
}

std::optional<std::uint32_t> thread_worker::enter(thread_submission& submission, std::uint32_t item,
                                                  bool again) {
  std::optional<std::uint32_t> attempt{1};
  if (again) {
    attempt = core_.retries().begin(submission, item);
    if (!attempt) {
      return std::nullopt;
    }
  }
  if (submission.decided(item)) {  // another thread has given it an outcome since it was claimed
    submission.drop(item, item + 1);
    return std::nullopt;
  }
  if (submission.group && submission.group->cut.cuts(submission.first_item + item)) {
    core_.outcomes().end_cut(submission, item);
    return std::nullopt;
  }
  return attempt;
}

void thread_worker::run_item(thread_submission& submission, std::uint32_t item, bool again) {
  const auto attempt = enter(submission, item, again);
  if (!attempt) {
    return;
  }
  const local_task now{submission.number, &core_.attempts(), &submission, item, *attempt};
  const local_task* const before = std::exchange(local_task::here(), &now);
  stack_.push_back(&submission);
  ++depth_;
  note_busy();
  if (submission.options().timeout) {
    core_.time().begin_attempt(submission, item, *attempt);
  }
  attempt_end how{.item = item, .attempt = *attempt};
  try {
    submission.run(item);
  } catch (...) {
    how.thrown = std::current_exception();
  }
  local_task::here() = before;
  stack_.pop_back();
  --depth_;
  note_busy();
  if (depth_ == 0 && !seat_.relief && !submission.group && may_begin_more()) {
    seat_.free.store(true);  // before the outcome is known: then the next task may be submitted
  }
  core_.outcomes().conclude(seat_, submission, std::move(how));
}

void thread_worker::begin_coroutine(const std::shared_ptr<thread_submission>& submission,
                                    std::uint32_t item, bool again) {
  const auto attempt = enter(*submission, item, again);
  if (!attempt) {
    core_.crew().stopped_running(seat_, *submission);
    return;
  }
  if (!loop_) {
    loop_ = std::make_unique<worker_loop>();
    seat_.bell->set_poke(loop_->poker());
  }
  if (submission->options().timeout) {
    core_.time().begin_attempt(*submission, item, *attempt);
  }
  const local_task as{submission->number, &core_.attempts(), submission.get(), item, *attempt};
  const auto ended = [this, submission, item, attempt = *attempt](const std::exception_ptr& thrown,
                                                                  bool stopped) {
    core_.crew().stopped_running(seat_, *submission, depth_ == 0);
    note_busy();
    core_.outcomes().conclude(seat_, *submission, {item, attempt, thrown, stopped});
  };
  loop_->begin(as, submission, core_.attempts().stop_token(*submission, item, *attempt), ended,
               [this] { note_busy(); });
}

// ---- while one of its tasks waits --------------------------------------------------------------

bool thread_worker::lend_a_hand(const std::shared_ptr<thread_submission>& wanted, bool any,
                                const future_state* awaited, const deadline& until) {
  released_submissions released;
  claimed_items work;
  if (!core_.scheduler().claim(seat_, wanted, any, work, released)) {
    return false;
  }
  if (work.submission->is_coroutine()) {
    begin_coroutine(work.submission, work.first, work.again);
    return true;
  }
  run_claimed(work, awaited, until);
  core_.crew().stopped_running(seat_, *work.submission);
  return true;
}

bool thread_worker::make_room() {
  if (depth_ >= max_depth) {
    throw error{errc::would_deadlock, task_ran::no,
                "the queue of " + core_.title() + " is full, and this task waits " +
                    std::to_string(depth_) +
                    " tasks deep: raise .max_queued, or submit less from inside of tasks"};
  }
  return lend_a_hand(nullptr, true, nullptr, std::nullopt);
}

void thread_worker::sleep(std::uint32_t seen, const deadline& until) {
  if (loop_ && loop_->has_work()) {
    ++depth_;  // counts for a coroutine that blocks, too, which also runs others meanwhile
    if (seat_.bell->look() == seen) {
      loop_->wait(until);
    }
    --depth_;
  } else {
    seat_.bell->sleep(seen, until);
  }
}

bool thread_worker::is_stuck(const future_state& awaited) const {
  const auto* const one = dynamic_cast<const thread_submission*>(&awaited);
  if (one == nullptr || one->owner() != &core_) {
    return false;
  }
  return (depth_ >= max_depth && !one->running() && !core_.scheduler().others_take_tasks(seat_)) ||
         std::find(stack_.begin(), stack_.end(), one) != stack_.end();
}

std::vector<const future_state*> thread_worker::ends_with_its_task() const {
  std::vector<const future_state*> found;
  for (const thread_submission* const each : stack_) {
    if (!each->options().timeout && !each->options().deadline) {
      found.push_back(each);
    }
  }
  return found;
}

void thread_worker::throw_deadlock() const {
  if (depth_ >= max_depth) {
    throw error{errc::would_deadlock, task_ran::no,
                "tasks of " + core_.title() + " wait for each other " + std::to_string(depth_) +
                    " deep in one thread, and no other is free or can be started: let the outer "
                    "ones submit and return, or wait outside of the pool"};
  }
  throw error{errc::would_deadlock, task_ran::no,
              "a task of " + core_.title() +
                  " would wait for itself for ever: what it waits for waits for it, or is it"};
}

thread_worker::finding thread_worker::run_or_need(const future_state& state,
                                                  const future_state& awaited,
                                                  const deadline& until, look& found) {
  const auto* const one = dynamic_cast<const thread_submission*>(&state);
  if (one == nullptr) {
    return finding::nothing;
  }
  if (one->owner() != &core_) {
    one->need();
    return finding::nothing;
  }
  found.coroutines = found.coroutines || one->is_coroutine();
  finding what = finding::nothing;
  if (one->unclaimed() > 0 || one->repeats()) {
    what = finding::may_run;
    const auto wanted = std::const_pointer_cast<thread_submission>(
        std::static_pointer_cast<const thread_submission>(state.shared_from_this()));
    if (depth_ < max_depth && lend_a_hand(wanted, false, &awaited, until)) {
      found.ran = true;
    } else {
      one->need();  // it may be bound to a worker that waits, too
    }
  }
  return awaited.done() || is_over(until) ? finding::has_ended : what;
}

void thread_worker::run_sources(awaited_looks& of, const awaited_looks::news& now,
                                const future_state& awaited, const deadline& until, look& found) {
  using again = awaited_looks::again;
  of.look_at_left(now, [&](const future_state& source) -> std::optional<again> {
    again later = again::never;
    const bool has_ended = visit_awaited(source, [&](const future_state& state) {
      look here;
      const finding what = run_or_need(state, awaited, until, here);
      found.ran = found.ran || here.ran;
      if (here.coroutines) {
        of.note_coroutine(state.weak_from_this());
      }
      // The wait listens to `source` alone: a source of that does not tell it of another one of its own.
      const bool may_change =
          &state != &source && dynamic_cast<const continuation*>(&state) != nullptr;
      later = what == finding::may_run || may_change ? again::with_news : later;
      return what == finding::has_ended;
    });
    return has_ended || found.ran ? std::nullopt : std::optional{later};
  });
  found.coroutines = of.has_coroutines();
}

thread_worker::look thread_worker::run_awaited(const future_state& awaited, const deadline& until,
                                               const awaited_looks::news& now) {
  look found;
  if (awaited_looks* const of = awaited.looks()) {
    run_sources(*of, now, awaited, until, found);
  } else {
    visit_awaited(awaited, [&](const future_state& state) {
      return run_or_need(state, awaited, until, found) == finding::has_ended;
    });
  }
  return found;
}

bool thread_worker::wait_for(const future_state& awaited, const deadline& until) {
  // Rings the bell when the awaited one ends, as long as this thread waits.
  struct ringer final : completion_listener {
    explicit ringer(std::shared_ptr<worker_bell> of) : bell{std::move(of)} {}
    void completed(future_state&) noexcept override { bell->wake(); }
    std::shared_ptr<worker_bell> bell;
  };
  auto& state =
      const_cast<future_state&>(awaited);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  struct listening {
    thread_worker& self;
    future_state& to;
    std::shared_ptr<ringer> by{};
    ~listening() {
      if (by) {
        to.unlisten(by.get());
      }
      self.core_.scheduler().stop_waiting(self.seat_);
    }
  } at_end{*this, state};
  while (!awaited.done() && !is_over(until)) {
    const std::uint32_t news = core_.scheduler().news();
    const std::uint32_t changes = sleeping_waiter::news();
    const std::uint32_t seen = seat_.bell->look();
    if (loop_) {
      ++depth_;
      loop_->run_ready();
      --depth_;
      if (awaited.done()) {
        break;
      }
    }
    const look found = run_awaited(awaited, until, {.of_pool = news, .of_futures = changes});
    if (found.ran) {
      continue;
    }
    const bool may_run = depth_ < max_depth;
    const bool any = may_run && (awaited.needs_other_tasks() || found.coroutines ||
                                 (loop_ && loop_->active() > 0));
    if (may_run && lend_a_hand(nullptr, any, &awaited, until)) {
      continue;
    }
    if (waits_for_stuck(awaited, [this](const future_state& each) { return is_stuck(each); })) {
      throw_deadlock();
    }
    if (!at_end.by) {
      at_end.by = std::make_shared<ringer>(seat_.bell);
      if (!state.listen(at_end.by)) {
        break;
      }
    }
    // What ends by a limit of time, or may run anything meanwhile, is in no circle.
    const bool only_sleeps = !until && !any && !(loop_ && loop_->has_work());
    const sleeping_waiter sleeper{awaited,
                                  only_sleeps ? ends_with_its_task() : sleeping_waiter::states{},
                                  [bell = seat_.bell] { bell->wake(); }};
    if (sleeping_waiter::news() != changes) {
      continue;
    }
    if (only_sleeps && sleeper.waits_for_itself()) {
      throw_deadlock();
    }
    if (core_.scheduler().begin_lending(seat_, {.any = any, .news = news})) {
      sleep(seen, until);
      core_.scheduler().stop_lending(seat_);
    }
  }
  return awaited.done();
}

}  // namespace troupe::detail
