// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/thread_scheduler.hpp"

#include "troupe/log.hpp"

#include "os/spin.hpp"
#include "pools/option_checks.hpp"
#include "pools/thread/thread_core.hpp"
#include "scheduling/room.hpp"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

namespace troupe::detail {
namespace {

/// How many workers beyond its size a pool may have while those within it wait.
constexpr std::size_t max_reliefs = 64;

/// Spins before it sleeps: the lock is held for less time than a system call takes.
class TROUPE_SCOPED_CAPABILITY patient_guard {
 public:
  explicit patient_guard(guarded_mutex& mutex) TROUPE_ACQUIRE(mutex) : mutex_{mutex} {
    constexpr int tries = 25;
    for (int i = 0; i < tries && spinning_helps(); ++i) {
      if (mutex.try_lock()) {
        return;
      }
      spin_watch::pause();
    }
    mutex.lock();
  }
  ~patient_guard() TROUPE_RELEASE() { mutex_.unlock(); }
  patient_guard(const patient_guard&) = delete;
  patient_guard& operator=(const patient_guard&) = delete;

 private:
  guarded_mutex& mutex_;
};

std::shared_ptr<thread_submission> share(thread_submission& one) {
  return std::static_pointer_cast<thread_submission>(one.shared_from_this());
}

}  // namespace

thread_scheduler::thread_scheduler(thread_core& core, int least, int most)
    : core_{core}, size_{least, most}, share_{core.options().max_queued} {}

void thread_scheduler::wake(const bell& one) {
  if (one) {
    one->wake();
  }
}

void thread_scheduler::wake(const bells& all) {
  for (const bell& each : all) {
    wake(each);
  }
}

// ---- the queue ---------------------------------------------------------------------------------

void thread_scheduler::check_accepting() const {
  if (phase_ != phase::open) {
    throw pool_closed{core_.title() +
                      (phase_ == phase::terminated ? " was terminated" : " is closed") +
                      ": it takes no more work"};
  }
}

/// False: there is no room. The caller puts the items into the queue. `collects`: see `room_share`.
bool thread_scheduler::take_room(std::uint64_t items, bool collects) {
  const std::uint64_t queued = queued_.load();
  if (collects) {
    if (share_.collect(queued, single_ > 0)) {
      room_.changed.notify_all();
      room_.line.call_next(1);
    }
    return share_.is_complete(queued, items);
  }
  if (!share_.may_enter(queued, items)) {
    return false;
  }
  if (share_.is_collected()) {
    share_.entered();
    room_.changed.notify_all();
  }
  return true;
}

bool thread_scheduler::submit(std::shared_ptr<thread_submission>& submission, bool may_block,
                              const deadline& until) {
  bell to_wake;
  bool full = false;
  {
    const patient_guard lock{mutex_};
    check_accepting();
    full = !take_room(submission->count(), false);
    if (!full) {
      to_wake = accept(std::move(submission));
    }
  }
  if (full) {
    return may_block && submit_when_there_is_room(submission, until);
  }
  wake(to_wake);
  return true;
}

bool thread_scheduler::submit_when_there_is_room(std::shared_ptr<thread_submission>& submission,
                                                 const deadline& until) {
  const std::uint32_t items = submission->count();
  // A worker may wait for this very task, and the pool's last one.
  const bool in_a_task = wait_helper::of_this_thread() != nullptr;
  bool collects = false;
  bool got_in = false;
  bell to_wake;
  released_submissions looked_at;
  {
    mutex_lock lock{mutex_};
    check_accepting();
    room_.blocked.fetch_add(1);  // from here on what leaves the queue notifies
    single_ += items == 1 ? 1 : 0;
    for (bool in_time = true; phase_ == phase::open;) {
      got_in = take_room(items, collects);
      if (got_in || !in_time) {
        break;
      }
      if (in_a_task) {
        need_first(looked_at);
      }
      if (!collects && items > 1 && share_.begin(items)) {
        collects = true;
      } else if (until) {
        in_time = room_.changed.wait_until(lock, *until);
      } else {
        room_.changed.wait(lock);
      }
    }
    single_ -= items == 1 ? 1 : 0;
    room_.blocked.fetch_sub(1);
    if (collects) {
      share_.end();
    }
    if (got_in) {
      to_wake = accept(std::move(submission));
    }
    if (collects || share_.is_collected()) {
      room_.changed.notify_all();
    }
    if (collects) {
      room_.line.call_next(1);
    }
    if (!got_in) {
      check_accepting();
    }
  }
  wake(to_wake);
  return got_in;
}

void thread_scheduler::need_first(released_submissions& looked_at) {
  if (const auto first = lanes_.front(); first && needed_.add(first)) {
    bells to_wake;
    relieve(to_wake, looked_at);
    wake(to_wake);
  }
}

thread_scheduler::bell thread_scheduler::accept(std::shared_ptr<thread_submission> submission) {
  accepted_.submitted += submission->count();
  queued_.fetch_add(submission->count(), std::memory_order_relaxed);
  submission->number = accepted_.next_number++;
  if (!submission->options().affinity.empty()) {
    return push_bound(std::move(submission));
  }
  const int priority = submission->options().priority;
  lanes_.push(std::move(submission));
  raise(urgency_, priority);
  return call_next();
}

thread_scheduler::bell thread_scheduler::push_bound(std::shared_ptr<thread_submission> submission) {
  worker_seat& to = workers_.bound_to(submission->options().affinity);
  const int priority = submission->options().priority;
  submission->bound_to = &to;
  to.own.push(std::move(submission));
  raise(to.urgency, priority);
  return resting_.call(to);
}

thread_scheduler::bell thread_scheduler::push_again(claimed_items item) {
  const std::string& key = item.submission->options().affinity;
  const int priority = item.submission->options().priority;
  if (key.empty()) {
    item.submission->bound_to = nullptr;
    lanes_.push_again(std::move(item));
    raise(urgency_, priority);
    return call_next();
  }
  worker_seat& to = workers_.bound_to(key);
  item.submission->bound_to = &to;
  to.own.push_again(std::move(item));
  raise(to.urgency, priority);
  return resting_.call(to);
}

void thread_scheduler::submit_again(const std::shared_ptr<thread_submission>& submission,
                                    std::uint32_t item) {
  released_submissions looked_at;
  bells to_wake;
  {
    const mutex_guard lock{mutex_};
    if (!retrying_.contains(submission)) {
      return;  // it was cancelled, and all workers may have left
    }
    queued_.fetch_add(1, std::memory_order_relaxed);
    const bell one = push_again({submission, item, 1, true});
    to_wake = call_lenders();  // one of them may wait for it
    to_wake.push_back(one);
    if (submission->needed) {
      relieve(to_wake, looked_at);
    }
  }
  wake(to_wake);
}

void thread_scheduler::note_first(std::atomic<int>& urgency, const task_lanes& lanes) noexcept {
  const int now = lanes.priority();
  if (urgency.load(std::memory_order_relaxed) != now) {
    urgency.store(now, std::memory_order_relaxed);  // written only if changed: all threads read it
  }
}

void thread_scheduler::raise(std::atomic<int>& urgency, int priority) noexcept {
  if (priority > urgency.load(std::memory_order_relaxed)) {
    urgency.store(priority, std::memory_order_relaxed);
  }
}

bool thread_scheduler::claim_next(worker_seat& self, claimed_items& into,
                                  released_submissions& released) {
  for (;;) {
    note_first(urgency_, lanes_);
    note_first(self.urgency, self.own);
    const bool of_its_own = !self.own.empty() && self.own.priority() >= lanes_.priority();
    task_lanes& from = of_its_own ? self.own : lanes_;
    if (from.empty()) {
      return false;
    }
    if (from.claim(into, released)) {
      note_claimed_locked(into.count);
      return true;
    }
  }
}

bool thread_scheduler::claim_from(worker_seat& self,
                                  const std::shared_ptr<thread_submission>& wanted,
                                  claimed_items& into) {
  if (wanted->bound_to != nullptr && wanted->bound_to != &self) {
    return false;
  }
  return claim_from_queue(wanted, into);
}

bool thread_scheduler::claim_from_queue(const std::shared_ptr<thread_submission>& wanted,
                                        claimed_items& into) {
  // It is among the tasks of a worker only while that worker has its seat.
  task_lanes& from = wanted->bound_to != nullptr
                         ? static_cast<worker_seat*>(const_cast<void*>(wanted->bound_to))->own
                         : lanes_;
  const std::uint32_t first = wanted->unclaimed() > 0 ? wanted->claim() : wanted->count();
  if (first < wanted->count()) {
    into = {wanted, first, std::min(wanted->task_range, wanted->count() - first), false};
  } else if (!wanted->repeats() || !from.claim_again(*wanted, into)) {
    return false;  // a worker that finds it in the queue removes it
  }
  note_claimed_locked(into.count);
  return true;
}

std::shared_ptr<thread_submission> thread_scheduler::find_needed(const worker_seat* self,
                                                                 released_submissions& looked_at) {
  if (needed_.empty()) {
    return nullptr;
  }
  const bool others_blocked = !workers_.any_of(
      [self](const worker_seat& each) { return &each != self && !each.leaving && !each.blocked; });
  return needed_.find(
      [&](const thread_submission& one) {
        mutex_.assert_held();
        return others_blocked && (one.unclaimed() > 0 || lanes_.has_again(one));
      },
      [&](const thread_submission& one) {
        mutex_.assert_held();
        return workers_.any_of([&](const worker_seat& to) {
          // Between two attempts it may still name one that has left.
          return &to == one.bound_to && (one.unclaimed() > 0 || to.own.has_again(one)) &&
                 // On the stack of a worker that is no relief only what is bound to that one.
                 (self == nullptr || self->relief ? to.blocked : &to == self);
        });
      },
      looked_at);
}

bool thread_scheduler::claim_needed(worker_seat& self, claimed_items& into,
                                    released_submissions& looked_at) {
  const auto found = find_needed(&self, looked_at);
  return found && claim_from_queue(found, into);
}

bool thread_scheduler::can_relieve() const {
  return crew_.reliefs == relief_state::come && workers_.reliefs() < max_reliefs;
}

bool thread_scheduler::others_take_tasks(const worker_seat& self) {
  const mutex_guard lock{mutex_};
  return can_relieve() || workers_.any_of([&self](const worker_seat& each) {
    return &each != &self && !each.leaving && !each.blocked;
  });
}

void thread_scheduler::note_no_relief(relief_state now, const std::string& why) {
  if (std::exchange(crew_.reliefs, now) == relief_state::come) {
    log(log_level::warning,
        core_.title() + " can start no further thread for what waiting tasks need: " + why);
  }
}

bool thread_scheduler::relieve(bells& to_wake, released_submissions& looked_at) {
  if (needed_.empty() || phase_ == phase::terminated || crew_.working == 0) {
    return false;
  }
  for (const auto& each : workers_.all()) {
    if (each->relief && !each->leaving && !each->blocked) {
      to_wake.push_back(resting_.call(*each));  // it looks, if it is not about to anyway
      return false;
    }
  }
  if (!find_needed(nullptr, looked_at)) {
    return false;
  }
  if (crew_.reliefs != relief_state::fail && workers_.reliefs() < max_reliefs) {
    try {
      start_thread_for(true);
      crew_.reliefs = relief_state::come;
      return false;
    } catch (const std::system_error& refused) {
      note_no_relief(relief_state::refused, refused.what());
    }
  }
  const bells waiting_ones = call_lenders();
  to_wake.insert(to_wake.end(), waiting_ones.begin(), waiting_ones.end());
  return true;
}

thread_scheduler::bells thread_scheduler::call_lenders() {
  news_.fetch_add(1);
  return resting_.call_lenders();
}

void thread_scheduler::need(const std::shared_ptr<thread_submission>& submission) {
  released_submissions looked_at;
  bells to_wake;
  {
    const mutex_guard lock{mutex_};
    if (needed_.add(submission)) {
      relieve(to_wake, looked_at);
    }
  }
  wake(to_wake);
}

void thread_scheduler::note_claimed_locked(std::uint64_t items) {
  queued_.fetch_sub(items);
  if (room_.blocked.load() != 0) {
    room_.changed.notify_all();
  }
  if (!room_.line.empty()) {
    room_.line.call_next(items);  // a called submission tries on the thread of callbacks
  }
}

void thread_scheduler::note_claimed(std::uint64_t items) {
  queued_.fetch_sub(items);
  if (room_.blocked.load() != 0) {
    // With the lock, so that a thread about to wait sees the new number or is notified.
    const mutex_guard lock{mutex_};
    room_.changed.notify_all();
  }
  if (!room_.line.empty()) {
    room_.line.call_next(items);
  }
}

void thread_scheduler::note_cancelled(std::uint64_t items) {
  // Not at each one: to count what waits takes a step for every priority of every worker.
  constexpr std::size_t looks_after = 1024;
  note_claimed(items);
  released_submissions released;  // destroyed without the lock
  const mutex_guard lock{mutex_};
  if (++cancelled_ % looks_after != 0) {
    return;
  }
  std::size_t waiting = lanes_.size();
  for (const auto& each : workers_.all()) {
    waiting += each->own.size();
  }
  if (cancelled_ < waiting / 2) {
    return;
  }
  cancelled_ = 0;
  lanes_.remove_used_up(released);
  note_first(urgency_, lanes_);
  for (const auto& each : workers_.all()) {
    each->own.remove_used_up(released);
    note_first(each->urgency, each->own);
  }
}

task_lanes::contents thread_scheduler::take_queue() {
  task_lanes::contents waiting;
  const mutex_guard lock{mutex_};
  lanes_.take_all(waiting);
  urgency_ = task_lanes::none;
  for (const auto& each : workers_.all()) {
    each->own.take_all(waiting);
    each->urgency = task_lanes::none;
  }
  return waiting;
}

std::shared_ptr<room_turn> thread_scheduler::make_turn() {
  return std::make_shared<room_turn>(
      core_.shared_from_this(), room_.line,
      [this] {
        const mutex_guard lock{mutex_};
        return phase_ != phase::open || share_.may_enter(queued_.load(), 1);
      },
      core_.callback_executor());
}

thread_scheduler::bell thread_scheduler::call_next() {
  bell found;
  if (resting_.call_next(queued_.load(std::memory_order_relaxed), found) ==
      resting_workers::search::none) {
    grow();
  }
  return found;
}

void thread_scheduler::stop_waiting(worker_seat& self) {
  bell to_wake;
  {
    const mutex_guard lock{mutex_};
    self.blocked = false;
    if (!lanes_.empty()) {
      to_wake = call_next();
    }
  }
  wake(to_wake);
}

// ---- what a worker does ------------------------------------------------------------------------

thread_scheduler::step thread_scheduler::next(worker_seat& self, const state_of_worker& how,
                                              claimed_items& work, released_submissions& released) {
  released_submissions looked_at;
  bells to_wake;
  bell also;
  bool watch_idle = false;
  step what = step::sleep;
  {
    const patient_guard lock{mutex_};
    resting_.woke_up(self);
    self.blocked = false;
    if (how.finished != nullptr) {
      stop_running(self, *how.finished);
    }
    const bool may_take = how.may_begin && !self.leaving;
    self.free.store(may_take && !self.relief);
    // The last worker that is ready stays: one that is starting may fail.
    if (!self.leaving && !self.relief && phase_ == phase::open && crew_.staying > size_.wanted() &&
        crew_.ready > 1) {
      withdraw(self, to_wake);
      relieve(to_wake, looked_at);
      if (!lanes_.empty()) {
        also = call_next();  // this worker may have been woken for what now waits
      }
      what = step::look_again;
    } else if (may_take && (self.relief ? claim_needed(self, work, looked_at)
                                        : claim_next(self, work, released))) {
      self.free.store(false);
      self.running.push_back(work.submission.get());
      if (!lanes_.empty()) {
        also = call_next();
      }
      what = step::run;
    } else if (how.holds || !released.empty()) {
      what = step::let_go;
    } else if (how.looping) {
      if (may_take) {
        self.runs_any = !self.relief;
        resting_.add_lender(self);
      } else {
        self.blocked = true;
        relieve(to_wake, looked_at);
      }
      what = step::loop;
    } else if (self.leaving || self.relief || (phase_ != phase::open && !is_needed(self))) {
      self.leaving = true;  // so nothing is bound to it from now on
      workers_.unbind(self);
      relieve(to_wake, looked_at);  // it does not take what waiting ones need any more
      what = step::leave;
    } else if (how.patient) {
      resting_.looks(self);
      what = step::look_again;
    } else if (how.leftovers) {
      self.runs_any = true;
      resting_.add_lender(self);
      what = step::loop;
    } else {
      resting_.add_idle(self);
      if (size_.may_shrink()) {
        self.idle_since = std::chrono::steady_clock::now();
        watch_idle = !std::exchange(crew_.idle_watched, true);
      }
    }
  }
  wake(to_wake);
  wake(also);
  if (watch_idle) {
    core_.time().let_idle_go_after(core_.options().idle_timeout);
  }
  return what;
}

bool thread_scheduler::claim(worker_seat& self, const std::shared_ptr<thread_submission>& wanted,
                             bool any, claimed_items& work, released_submissions& released) {
  released_submissions looked_at;
  bell also;
  {
    const mutex_guard lock{mutex_};
    if (wanted ? !claim_from(self, wanted, work)
               : !(any && claim_next(self, work, released)) &&
                     !(!can_relieve() && claim_needed(self, work, looked_at))) {
      return false;
    }
    self.blocked = false;
    self.free.store(false);  // it may be outside of its tasks, where it would take another
    self.running.push_back(work.submission.get());
    if (!lanes_.empty()) {
      also = call_next();
    }
  }
  wake(also);
  return true;
}

void thread_scheduler::stop_running(worker_seat& self, const thread_submission& submission) {
  const auto found = std::find(self.running.rbegin(), self.running.rend(), &submission);
  self.running.erase(std::next(found).base());  // its coroutines that began later run on
  ends_.look(submission, workers_);
}

void thread_scheduler::stopped_running(worker_seat& self, const thread_submission& submission,
                                       bool frees) {
  const mutex_guard lock{mutex_};
  stop_running(self, submission);
  if (frees && !self.leaving && !self.relief) {
    self.free.store(true);
  }
}

bool thread_scheduler::begin_lending(worker_seat& self, const state_of_wait& how) {
  released_submissions looked_at;
  bells to_wake;
  const bool begun = try_lending(self, how, to_wake, looked_at);
  wake(to_wake);
  return begun;
}

bool thread_scheduler::try_lending(worker_seat& self, const state_of_wait& how, bells& to_wake,
                                   released_submissions& looked_at) {
  const mutex_guard lock{mutex_};
  const bool was_blocked = std::exchange(self.blocked, !how.any || self.relief);
  if (self.blocked && !was_blocked) {
    if (relieve(to_wake, looked_at)) {
      return false;
    }
    if (self.free.exchange(false) && !lanes_.empty()) {
      to_wake.push_back(call_next());  // it counted as one that takes them: a destructor waits here
    }
  }
  if (news_.load() != how.news || (how.any && (!lanes_.empty() || !self.own.empty()))) {
    return false;
  }
  self.runs_any = how.any;
  resting_.add_lender(self);
  return true;
}

void thread_scheduler::stop_lending(worker_seat& self) {
  const mutex_guard lock{mutex_};
  resting_.woke_up(self);
}

bool thread_scheduler::is_needed(const worker_seat& self) const {
  // For an attempt that follows, also of what one that leaves already still runs; and for what is
  // bound to one that is starting and may fail to.
  const auto stays = [&self](const worker_seat& each) {
    return &each != &self && !each.leaving && each.present;
  };
  const auto may_leave_work = [](const worker_seat& each) {
    return each.leaving ? !each.running.empty() : !each.present;
  };
  return !retrying_.empty() || (!workers_.any_of(stays) && workers_.any_of(may_leave_work));
}

void thread_scheduler::withdraw(worker_seat& self, bells& to_wake) {
  --crew_.staying;
  crew_.ready -= self.present ? 1 : 0;
  self.leaving = true;
  workers_.unbind(self);
  task_lanes::contents waiting;
  self.own.take_all(waiting);
  for (auto& submission : waiting.submissions) {
    to_wake.push_back(push_bound(std::move(submission)));
  }
  for (auto& item : waiting.again) {
    to_wake.push_back(push_again(std::move(item)));
  }
  const bells waiting_ones = call_lenders();  // one of them may wait for what was bound to this one
  to_wake.insert(to_wake.end(), waiting_ones.begin(), waiting_ones.end());
}

// ---- the workers' lives ------------------------------------------------------------------------

void thread_scheduler::start_thread_for(bool relief) {
  worker_seat& seat = workers_.add(relief);
  try {
    core_.start_worker(seat);
  } catch (...) {
    workers_.remove(seat);
    throw;
  }
  ++crew_.alive;
  ++crew_.working;
}

void thread_scheduler::add_worker() {
  start_thread_for(false);
  ++crew_.staying;
}

void thread_scheduler::start() {
  int begun = 0;
  std::exception_ptr problem;
  {
    mutex_lock lock{mutex_};
    try {
      for (; begun < size_.wanted(); ++begun) {
        add_worker();
      }
    } catch (const std::system_error& refused) {
      phase_ = phase::closing;
      crew_.start_problem = std::make_exception_ptr(
          error{errc::resource_exhausted, task_ran::no,
                "cannot start the threads of " + core_.title() + ": " + refused.what()});
    }
    while (crew_.initialized != begun) {
      crew_changed_.wait(lock);
    }
    problem = crew_.start_problem;
  }
  if (problem) {
    close();
    wait_until_gone(std::nullopt);
    std::rethrow_exception(problem);
  }
}

void thread_scheduler::initialized(worker_seat& self, const std::exception_ptr& problem) {
  released_submissions looked_at;
  bells to_wake;
  {
    const mutex_guard lock{mutex_};
    if (self.relief) {
      if (problem) {
        self.leaving = true;
        note_no_relief(relief_state::fail, "its initializer threw");
        to_wake = call_lenders();
      }
      // It is not noted as present: nothing is bound to it, and no closed pool stays for it alone.
    } else if (++crew_.initialized; problem) {
      size_.limit(std::max(1, crew_.staying - 1));  // further threads could not be started either
      if (!crew_.start_problem) {
        crew_.start_problem = problem;
      }
      withdraw(self, to_wake);
      relieve(to_wake, looked_at);
    } else {
      self.present = true;
      ++crew_.ready;
    }
    if (phase_ != phase::open) {
      const bells others = begin_closing();  // one may have stayed until this is known
      to_wake.insert(to_wake.end(), others.begin(), others.end());
    }
    crew_changed_.notify_all();
  }
  wake(to_wake);
}

std::unique_ptr<worker_seat> thread_scheduler::leave(worker_seat& self, bool& last) {
  std::unique_ptr<worker_seat> seat;
  bells to_wake;
  {
    const mutex_guard lock{mutex_};
    seat = workers_.remove(self);
    last = --crew_.working == 0;
    if (phase_ != phase::open) {
      to_wake = begin_closing();  // a worker may have stayed for what this one ran
    }
  }
  wake(to_wake);
  return seat;
}

void thread_scheduler::departed() {
  const mutex_guard lock{mutex_};
  --crew_.alive;
  crew_changed_.notify_all();
}

bool thread_scheduler::wait_until_gone(const deadline& until) {
  mutex_lock lock{mutex_};
  bool in_time = true;
  while (crew_.alive != 0 && in_time) {
    if (until) {
      in_time = crew_changed_.wait_until(lock, *until);
    } else {
      crew_changed_.wait(lock);
    }
  }
  return crew_.alive == 0;
}

thread_scheduler::bells thread_scheduler::begin_closing() {
  if (phase_ == phase::open) {
    phase_ = phase::closing;
  }
  bells all = resting_.call_idle();
  room_.changed.notify_all();
  room_.line.call_next(UINT64_MAX);
  return all;
}

void thread_scheduler::close() {
  bells to_wake;
  {
    const mutex_guard lock{mutex_};
    to_wake = begin_closing();
  }
  wake(to_wake);
}

void thread_scheduler::terminate() {
  bells to_wake;
  {
    const mutex_guard lock{mutex_};
    phase_ = phase::terminated;
    to_wake = begin_closing();
  }
  wake(to_wake);
}

bool thread_scheduler::is_closing() {
  const mutex_guard lock{mutex_};
  return phase_ != phase::open;
}

void thread_scheduler::resize(int workers) {
  bells to_wake;
  std::exception_ptr problem;
  {
    const mutex_guard lock{mutex_};
    check_accepting();
    size_.set(workers);
    try {
      while (crew_.staying < size_.wanted()) {
        add_worker();
      }
    } catch (const std::system_error& refused) {
      size_.set(crew_.staying);
      problem = std::make_exception_ptr(
          error{errc::resource_exhausted, task_ran::no,
                "cannot start more threads of " + core_.title() + ": " + refused.what()});
    }
    if (crew_.staying > size_.wanted()) {
      to_wake = resting_.call_idle();  // surplus ones see that they are to leave
    }
  }
  wake(to_wake);
  if (problem) {
    std::rethrow_exception(problem);
  }
}

void thread_scheduler::grow() {
  if (crew_.staying >= size_.most() || phase_ != phase::open ||
      workers_.any_of([](const worker_seat& each) { return !each.leaving && each.free.load(); })) {
    return;
  }
  try {
    add_worker();
    while (size_.wanted() < crew_.staying) {
      size_.grow();
    }
  } catch (const std::system_error& refused) {
    size_.limit(std::max(size_.least(), crew_.staying));
    log(log_level::warning, core_.title() + " stays at " + std::to_string(crew_.staying) +
                                " workers, no further thread can be started: " + refused.what());
  }
}

void thread_scheduler::let_idle_go() {
  bells to_wake;
  bool some_stay = false;
  {
    const mutex_guard lock{mutex_};
    const auto now = std::chrono::steady_clock::now();
    resting_.call_idle_if(
        [&](const worker_seat& each) {
          if (!size_.may_shrink() || later(each.idle_since, core_.options().idle_timeout) > now) {
            return false;
          }
          size_.shrink();
          return true;
        },
        to_wake);
    some_stay = phase_ == phase::open && size_.may_shrink() && resting_.any_idle();
    crew_.idle_watched = some_stay;
  }
  wake(to_wake);
  if (some_stay) {
    core_.time().let_idle_go_after(core_.options().idle_timeout);
  }
}

// ---- retries and maps --------------------------------------------------------------------------

bool thread_scheduler::keep_for_retry(const std::shared_ptr<thread_submission>& submission) {
  const mutex_guard lock{mutex_};
  if (phase_ == phase::terminated) {
    return false;
  }
  retrying_.insert(submission);
  return true;
}

void thread_scheduler::drop_retries(const std::shared_ptr<thread_submission>& submission,
                                    std::size_t items) {
  bells to_wake;
  released_submissions kept;  // destroyed without the lock
  {
    const mutex_guard lock{mutex_};
    for (; items > 0; --items) {
      if (const auto found = retrying_.find(submission); found != retrying_.end()) {
        kept.push_back(std::move(retrying_.extract(found).value()));
      }
    }
    if (phase_ != phase::open && retrying_.empty()) {
      to_wake = begin_closing();
    }
  }
  wake(to_wake);
}

void thread_scheduler::begin_asking(const thread_submission& of) {
  const mutex_guard lock{mutex_};
  ends_.begin_asking(of);
}

void thread_scheduler::end_asking(const thread_submission& of) {
  const mutex_guard lock{mutex_};
  ends_.end_asking(of, workers_);
}

std::shared_ptr<event_state> thread_scheduler::watch_end(const thread_group& map,
                                                         const worker_seat* own) {
  const mutex_guard lock{mutex_};
  return ends_.watch(map, own, workers_);
}

// ---- reads -------------------------------------------------------------------------------------

std::vector<worker_info> thread_scheduler::workers() {
  std::vector<worker_info> found;
  const mutex_guard lock{mutex_};
  for (const auto& each : workers_.all()) {
    if (each->present) {
      found.push_back({each->id, each->thread_id.load()});
    }
  }
  return found;
}

pool_stats thread_scheduler::stats() {
  pool_stats found;
  const mutex_guard lock{mutex_};
  found.submitted = accepted_.submitted;
  found.queued = queued_.load();
  found.succeeded = workers_.past_succeeded();
  for (const auto& each : workers_.all()) {
    found.succeeded += each->succeeded.load(std::memory_order_relaxed);
    found.running += each->busy.load(std::memory_order_relaxed);
    found.workers += each->present ? 1 : 0;
  }
  return found;
}

std::vector<std::shared_ptr<thread_submission>> thread_scheduler::running() {
  std::vector<std::shared_ptr<thread_submission>> found;
  const mutex_guard lock{mutex_};
  for (const auto& each : workers_.all()) {
    for (thread_submission* const submission : each->running) {
      // Exists: the worker that runs it keeps it alive while it is in the list.
      found.push_back(share(*submission));
    }
  }
  return found;
}

std::vector<std::shared_ptr<thread_submission>> thread_scheduler::retrying() {
  const mutex_guard lock{mutex_};
  return {retrying_.begin(), retrying_.end()};
}

}  // namespace troupe::detail
