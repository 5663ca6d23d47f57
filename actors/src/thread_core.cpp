// SPDX-License-Identifier: BSD-3-Clause

// The queue of a thread pool and its workers. What limits tasks is in thread_limits.cpp.

#include "troupe/log.hpp"

#include "thread_core_impl.hpp"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <system_error>
#include <typeinfo>
#include <utility>

namespace troupe::detail {

namespace {
/// A worker without work lets others run this often before it sleeps: who submits small tasks one
/// by one finds it awake more often than not, which saves both of them the kernel (a round trip
/// costs 7 us instead of 14, and twice as many tasks go through).
constexpr int looks_before_sleep = 16;
}  // namespace

const local_task*& local_task::here() noexcept {
  constinit thread_local const local_task* now = nullptr;
  return now;
}

void local_task::report(std::uint64_t done, std::uint64_t total, std::string_view text) const {
  // As seldom as from a worker process.
  constexpr std::chrono::milliseconds interval{20};
  thread_local std::uint64_t reported_for = 0;
  thread_local std::chrono::steady_clock::time_point reported_at;
  const auto now = std::chrono::steady_clock::now();
  if (reported_for == number && now - reported_at < interval && (total == 0 || done < total)) {
    return;
  }
  reported_for = number;
  reported_at = now;
  job->report({done, total, std::string{text.substr(0, max_progress_text)}});
}

std::stop_token local_task::stop_token() const {
  return core->stop_token_of(*job, item);
}

// ---- life --------------------------------------------------------------------------------------

thread_core::thread_core(const thread_pool_options& options)
    : options_{options},
      task_defaults_{share_thread_options(options.task_defaults)},
      actors_{thread_actors::get()},
      callbacks_{std::make_shared<callback_runner>(actors_.system())} {}

thread_core::~thread_core() {
  callbacks_->stop();
}

void thread_core::start() {
  std::vector<sleeper> all;
  try {
    for (int i = 0; i < options_.workers; ++i) {
      const std::lock_guard lock{mutex_};
      ++wanted_;
      all.push_back(add_worker());
    }
  } catch (const std::system_error& problem) {
    const std::lock_guard lock{mutex_};
    closing_ = true;
    start_problem_ = std::make_exception_ptr(
        error{errc::resource_exhausted, task_ran::no,
              "cannot start the threads of " + title() + ": " + problem.what()});
  }
  for (const sleeper& each : all) {
    wake(each);
  }
  const int begun = static_cast<int>(all.size());
  all.clear();  // a thread stays as long as somebody holds its actor
  std::unique_lock lock{mutex_};
  life_.wait(lock, [&] { return initialized_ == begun; });
  if (!start_problem_) {
    return;
  }
  auto to_end = begin_closing();
  lock.unlock();
  for (const sleeper& each : to_end) {
    wake(each);
  }
  to_end.clear();
  lock.lock();
  life_.wait(lock, [&] { return alive_ == 0; });
  std::rethrow_exception(start_problem_);
}

thread_core::sleeper thread_core::add_worker() {
  auto made = std::make_unique<worker>(*this, static_cast<int>(workers_.size()));
  // The actor keeps the core until it leaves.
  made->actor =
      actors_.spawn([self = shared_from_this(), which = made.get()] { return self->turn(*which); });
  ++alive_;
  ++working_;
  ++staying_;
  workers_.push_back(std::move(made));
  return {workers_.back()->actor, nullptr};
}

void thread_core::resize(int workers) {
  constexpr int most_workers = 4096;
  if (workers < 1 || workers > most_workers) {
    throw std::invalid_argument{"troupe::thread_pool: resize(" + std::to_string(workers) +
                                ") is not between 1 and " + std::to_string(most_workers)};
  }
  std::vector<sleeper> to_wake;
  std::exception_ptr problem;
  {
    const std::lock_guard lock{mutex_};
    check_accepting();
    wanted_ = workers;
    try {
      while (staying_ < wanted_) {
        to_wake.push_back(add_worker());
      }
    } catch (const std::system_error& refused) {
      wanted_ = staying_;
      problem = std::make_exception_ptr(
          error{errc::resource_exhausted, task_ran::no,
                "cannot start more threads of " + title() + ": " + refused.what()});
    }
    if (staying_ > wanted_) {
      for (worker* const each : idle_) {
        to_wake.push_back({each->actor, nullptr});  // to see that it is not wanted any more
      }
      idle_.clear();
    }
  }
  for (const sleeper& each : to_wake) {
    wake(each);
  }
  if (problem) {
    std::rethrow_exception(problem);
  }
}

namespace {

/// The last that a worker's thread does: its other thread_locals, which may be the user's, were
/// made later and so are gone. Whoever joins the pool has waited for their destructors too.
struct departure {
  std::shared_ptr<thread_core> from;
  ~departure() {
    if (from) {
      from->departed();
    }
  }
};
thread_local departure last_of_thread;

}  // namespace

void thread_core::departed() {
  const std::lock_guard lock{mutex_};
  --alive_;
  life_.notify_all();
}

bool thread_core::begin(worker& self) {
  last_of_thread.from = shared_from_this();
  self.thread_id = ::gettid();
  const std::string place = "_" + std::to_string(self.index);
  constexpr std::size_t longest_name = 15;
  const std::string name = options_.name.substr(0, longest_name - place.size()) + place;
  ::pthread_setname_np(::pthread_self(), name.c_str());
  std::exception_ptr problem;
  try {
    if (options_.initializer) {
      options_.initializer();
    }
  } catch (...) {
    problem = std::current_exception();
  }
  wait_helper::of_this_thread() = &self;
  const std::lock_guard lock{mutex_};
  ++initialized_;
  self.present = !problem;
  if (problem && !start_problem_) {
    start_problem_ = problem;
  }
  life_.notify_all();
  return !problem;
}

void thread_core::leave(worker& self) {
  wait_helper::of_this_thread() = nullptr;
  bool last = false;
  {
    const std::lock_guard lock{mutex_};
    self.present = false;
    // Its thread stays until nobody holds the actor.
    self.actor = {};
    last = --working_ == 0;
  }
  if (last) {
    // Nothing runs any more, so no limit matters.
    std::multimap<std::chrono::steady_clock::time_point, limit> unneeded;
    const std::lock_guard lock{control_};
    time_is_over_ = true;
    time_.notify_all();
    if (timekeeper_ && !keeping_time_) {
      thread_actors::wake(timekeeper_);
    }
    timekeeper_ = {};
    limits_.swap(unneeded);
  }
}

std::vector<thread_core::sleeper> thread_core::begin_closing() {
  closing_ = true;
  std::vector<sleeper> all;
  for (worker* const each : idle_) {
    all.push_back({each->actor, nullptr});
  }
  idle_.clear();
  room_.notify_all();
  return all;
}

void thread_core::close() {
  std::vector<sleeper> to_end;
  {
    const std::lock_guard lock{mutex_};
    to_end = begin_closing();
  }
  for (const sleeper& each : to_end) {
    wake(each);
  }
}

void thread_core::cancel_waiting(const char* because) {
  std::vector<lane> waiting;
  {
    const std::lock_guard lock{mutex_};
    waiting.swap(lanes_);
    urgency_ = INT_MIN;
  }
  for (const lane& each : waiting) {
    for (const auto& job : each.jobs) {
      cancel_rest(*job, "cancelled: " + title() + because);
    }
  }
}

void thread_core::terminate(std::chrono::milliseconds grace) {
  std::vector<sleeper> to_end;
  {
    const std::lock_guard lock{mutex_};
    terminated_ = true;
    to_end = begin_closing();
  }
  cancel_waiting(" was terminated before it began");
  ask_all_to_stop();
  for (auto& job : running_jobs()) {
    limit last{std::move(job), every_item, limit::step::give_up};
    if (grace.count() > 0) {
      add_limit(std::chrono::steady_clock::now() + grace, std::move(last));
    } else {
      reach(last);
    }
  }
  for (const sleeper& each : to_end) {
    wake(each);
  }
}

void thread_core::join() {
  if (worker_of_this_thread() != nullptr) {
    throw error{errc::would_deadlock, task_ran::no,
                "join() in a task of " + title() +
                    " would wait for that task for ever: call it where the pool was made"};
  }
  {
    const std::lock_guard lock{mutex_};
    if (!closing_) {
      throw std::logic_error{"troupe: " + title() +
                             ": join() before close() or terminate() would wait for ever"};
    }
  }
  join_until(std::nullopt);
}

bool thread_core::join_until(const deadline& until) {
  {
    std::unique_lock lock{mutex_};
    const auto gone = [&] { return alive_ == 0; };
    if (!until) {
      life_.wait(lock, gone);
    } else if (!life_.wait_until(lock, *until, gone)) {
      return false;
    }
  }
  callbacks_->wait_idle();
  return true;
}

void thread_core::end() noexcept {
  try {
    bool gone = false;
    {
      const std::lock_guard lock{mutex_};
      gone = alive_ == 0;
    }
    if (!gone) {
      terminate(options_.grace);
    }
    if (worker_of_this_thread() == nullptr) {
      join_until(std::nullopt);
    }  // else the pool ends in one of its own tasks, which is the last thing that thread does
  } catch (const std::exception& problem) {
    log(log_level::error, title() + " could not be ended in order: " + problem.what());
  }
}

// ---- the queue ---------------------------------------------------------------------------------

void thread_core::check_accepting() const {
  if (closing_) {
    throw pool_closed{title() + (terminated_ ? " was terminated" : " is closed") +
                      ": it takes no more work"};
  }
}

thread_core::worker* thread_core::worker_of_this_thread() const noexcept {
  auto* const here = dynamic_cast<worker*>(wait_helper::of_this_thread());
  return here != nullptr && &here->core == this ? here : nullptr;
}

bool thread_core::submit(std::shared_ptr<thread_job> job, bool may_block) {
  const std::uint32_t count = job->count_;
  const auto watched = job->options_->deadline ? job : nullptr;
  if (watched) {
    // While nobody else knows it.
    job->rare().due = *deadline_after(std::min<std::chrono::milliseconds>(
        *job->options_->deadline, std::chrono::hours{24 * 365}));
  }
  sleeper whom;
  {
    std::unique_lock lock{mutex_};
    for (;;) {
      check_accepting();
      // A submission larger than the bound passes when the queue is empty.
      const std::uint64_t now = queued_.load();
      if (options_.max_queued == 0 || now == 0 || now + count <= options_.max_queued) {
        break;
      }
      if (!may_block) {
        return false;
      }
      if (worker* const self = worker_of_this_thread()) {
        // All workers might wait here for room that only they can make.
        lock.unlock();
        if (self->depth >= max_lending_depth) {
          throw error{errc::would_deadlock, task_ran::no,
                      "the queue of " + title() + " is full, and this task waits " +
                          std::to_string(self->depth) +
                          " tasks deep: raise .max_queued, or submit less from inside of tasks"};
        }
        lend_a_hand(*self, nullptr, nullptr);
        lock.lock();
        continue;
      }
      blocked_.fetch_add(1);
      if (queued_.load() == now) {
        room_.wait(lock);
      }
      blocked_.fetch_sub(1);
    }
    submitted_ += count;
    queued_.fetch_add(count, std::memory_order_relaxed);
    job->number_ = next_number_++;
    push(std::move(job));
    whom = pick_sleeper();
  }
  if (watched) {
    watch_deadline(watched);
  }
  wake(whom);
  return true;
}

void thread_core::push(std::shared_ptr<thread_job> job) {
  const int priority = job->options_->priority;
  auto found = std::find_if(lanes_.begin(), lanes_.end(),
                            [priority](const lane& each) { return each.priority <= priority; });
  if (found == lanes_.end() || found->priority != priority) {
    found = lanes_.insert(found, lane{priority, {}});
  }
  found->jobs.push_back(std::move(job));
  if (priority > urgency_.load(std::memory_order_relaxed)) {
    urgency_.store(priority, std::memory_order_relaxed);
  }
}

bool thread_core::anything_queued() const {
  return std::any_of(lanes_.begin(), lanes_.end(),
                     [](const lane& each) { return !each.jobs.empty(); });
}

bool thread_core::take_from(const std::shared_ptr<thread_job>& wanted, claimed& into) {
  const std::uint32_t first = wanted->next_.fetch_add(wanted->slice);
  if (first >= wanted->count_) {
    return false;  // whoever finds it in the queue removes it there
  }
  into = {wanted, first, std::min(wanted->slice, wanted->count_ - first)};
  note_claimed(into.count, true);
  return true;
}

bool thread_core::take(claimed& into, buried_jobs& buried) {
  for (lane& each : lanes_) {
    while (!each.jobs.empty()) {
      std::shared_ptr<thread_job>& front = each.jobs.front();
      const std::uint32_t count = front->count_;
      const std::uint32_t slice = front->slice;
      const std::uint32_t first = front->next_.fetch_add(slice);
      const bool used_up = first >= count || count - first <= slice;
      if (first < count) {
        into.first = first;
        into.count = std::min(slice, count - first);
        into.job = used_up ? std::move(front) : front;
      } else {
        buried.push_back(std::move(front));
      }
      if (used_up) {
        each.jobs.pop_front();
      }
      if (first < count) {
        note_claimed(into.count, true);
        if (urgency_.load(std::memory_order_relaxed) != each.priority) {
          urgency_.store(each.priority, std::memory_order_relaxed);
        }
        return true;
      }
    }
  }
  urgency_.store(INT_MIN, std::memory_order_relaxed);
  return false;
}

void thread_core::note_claimed(std::uint64_t items, bool locked) {
  queued_.fetch_sub(items);
  if (options_.max_queued != 0 && blocked_.load() != 0) {
    // With the lock, so that who waits either sees the new number or hears of it.
    std::unique_lock lock{mutex_, std::defer_lock};
    if (!locked) {
      lock.lock();
    }
    room_.notify_all();
  }
}

thread_core::sleeper thread_core::pick_sleeper() {
  if (!idle_.empty()) {
    if (waking_) {
      return {};  // it will see this too, and call the next
    }
    worker* const who = idle_.back();
    idle_.pop_back();
    who->expected = true;
    waking_ = true;
    return {who->actor, nullptr};
  }
  if (!lenders_.empty()) {
    worker* const who = lenders_.back();
    lenders_.pop_back();
    return {{}, who->bell};
  }
  return {};
}

void thread_core::wake(const sleeper& whom) {
  if (whom.in_task) {
    whom.in_task->wake();
  } else if (whom.idle) {
    thread_actors::wake(whom.idle);
  }
}

void thread_core::pass_on() {
  sleeper whom;
  {
    const std::lock_guard lock{mutex_};
    if (anything_queued()) {
      whom = pick_sleeper();
    }
  }
  wake(whom);
}

// ---- workers -----------------------------------------------------------------------------------

/// On the worker's thread, for a message that woke it; false: the worker leaves.
bool thread_core::turn(worker& self) {
  if (!std::exchange(self.began, true) && !begin(self)) {
    {
      const std::lock_guard lock{mutex_};
      --staying_;
    }
    leave(self);
    return false;
  }
  claimed work;
  int patience = 0;
  for (;;) {
    bool looks_again = false;
    const claimed finished = std::move(work);  // destroyed without the lock, as are the buried
    work = {};
    buried_jobs buried;
    sleeper next;
    {
      const std::lock_guard lock{mutex_};
      if (std::exchange(self.expected, false)) {
        waking_ = false;
      }
      if (finished.job) {
        self.running.pop_back();
      }
      if (!closing_ && staying_ > wanted_) {
        --staying_;
        if (anything_queued()) {
          next = pick_sleeper();  // it may have been woken for that
        }
      } else if (take(work, buried)) {
        self.running.push_back(work.job.get());
        if (anything_queued()) {
          next = pick_sleeper();
        }
      } else if (closing_) {
        // Leaves, see below.
      } else if (patience > 0) {
        looks_again = true;
      } else {
        idle_.push_back(&self);
        return true;
      }
    }
    if (looks_again) {
      while (patience > 0 && queued_.load(std::memory_order_relaxed) == 0) {
        --patience;
        ::sched_yield();
      }
      continue;
    }
    if (!work.job) {
      wake(next);
      leave(self);
      return false;
    }
    patience = looks_before_sleep;
    wake(next);
    run_claimed(self, work, nullptr);
  }
}

bool thread_core::lend_a_hand(worker& self, const std::shared_ptr<thread_job>& wanted,
                              const future_state* awaited) {
  claimed work;
  buried_jobs buried;
  sleeper next;
  {
    const std::lock_guard lock{mutex_};
    if (!(wanted && take_from(wanted, work)) && !take(work, buried)) {
      return false;
    }
    self.running.push_back(work.job.get());
    if (anything_queued()) {
      next = pick_sleeper();
    }
  }
  wake(next);
  run_claimed(self, work, awaited);
  const std::lock_guard lock{mutex_};
  self.running.pop_back();
  return true;
}

void thread_core::run_claimed(worker& self, claimed& work, const future_state* awaited) {
  thread_job& job = *work.job;
  const std::shared_ptr<thread_group> group = job.group;  // may let go of its jobs when all is done
  if (!group) {
    run_item(self, job, work.first);
    return;
  }
  const auto begun = std::chrono::steady_clock::now();
  std::int64_t items = 0;
  for (;;) {
    for (std::uint32_t i = 0; i < work.count; ++i) {
      run_item(self, job, work.first + i);
    }
    items += work.count;
    // What is left of the job is still in the queue, for others too. No lock to take the next.
    if (urgency_.load(std::memory_order_relaxed) > job.options_->priority ||
        (awaited != nullptr && awaited->done())) {
      break;
    }
    work.first = job.next_.fetch_add(job.slice);
    if (work.first >= job.count_) {
      break;
    }
    work.count = std::min(job.slice, job.count_ - work.first);
    note_claimed(work.count, false);
  }
  const auto taken = std::chrono::steady_clock::now() - begun;
  group->mean_ns.store(
      std::max<std::int64_t>(
          1, std::chrono::duration_cast<std::chrono::nanoseconds>(taken).count() / items),
      std::memory_order_relaxed);
}

void thread_core::run_item(worker& self, thread_job& job, std::uint32_t item) {
  if (job.group && job.group->cuts(job.first_item + item)) {
    job.drop(item, item + 1);
    if (job.claim_outcome(item)) {
      fail(job, item, nullptr,
           plain(errc::cancelled, task_ran::no,
                 "cancelled before it began: another item of its map failed, or the map was given "
                 "up",
                 job));
    }
    return;
  }
  const local_task now{job.number_, this, &job, item};
  const local_task* const before = std::exchange(local_task::here(), &now);
  ++self.depth;
  self.busy.store(static_cast<std::uint32_t>(self.depth), std::memory_order_relaxed);
  const bool limited = job.options_->timeout.has_value();
  if (limited) {
    begin_limit(job, item);
  }
  bool stored = false;
  std::exception_ptr thrown;
  try {
    stored = job.run(item);
  } catch (...) {
    thrown = std::current_exception();
  }
  if (limited) {
    end_limit(job, item);
  }
  local_task::here() = before;
  --self.depth;
  self.busy.store(static_cast<std::uint32_t>(self.depth), std::memory_order_relaxed);
  if (stored) {
    // One writer, hence no read-modify-write.
    self.succeeded.store(self.succeeded.load(std::memory_order_relaxed) + 1,
                         std::memory_order_relaxed);
    settle(job, 1);
  } else if (thrown && job.decide(item)) {
    fail_thrown(job, item, thrown);
  }
}

void thread_core::worker::wait_for(const future_state& awaited) {
  const auto* const one = dynamic_cast<const thread_job*>(&awaited);
  std::shared_ptr<thread_job> wanted;
  if (one != nullptr && one->owner() == &core) {
    wanted = std::const_pointer_cast<thread_job>(
        std::static_pointer_cast<const thread_job>(awaited.shared_from_this()));
  }
  const bool of_this_pool = wanted || owner_of(awaited) == &core;
  bool observed = false;
  while (!awaited.done()) {
    const bool may_lend = depth < max_lending_depth;
    if (may_lend) {
      if (core.lend_a_hand(*this, wanted, &awaited)) {
        continue;
      }
    } else if (of_this_pool && !awaited.running() && !awaited.done()) {
      throw error{errc::would_deadlock, task_ran::no,
                  "tasks of " + core.title() + " wait for each other " + std::to_string(depth) +
                      " deep in one thread, which is the limit: let the outer ones submit and "
                      "return, or wait outside of the pool"};
    }
    if (!std::exchange(observed, true)) {
      awaited.observe([bell = bell](future_state&) { bell->wake(); });
    }
    const std::uint32_t seen = bell->word.load();
    if (awaited.done()) {
      break;
    }
    if (may_lend) {
      const std::lock_guard lock{core.mutex_};
      if (core.anything_queued()) {
        continue;
      }
      core.lenders_.push_back(this);
    }
    // At the limit nobody rings when what is awaited goes back to waiting in the queue.
    constexpr auto look_again = std::chrono::milliseconds{10};
    futex_wait(bell->word, seen, may_lend ? deadline{} : deadline_after(look_again));
    if (may_lend) {
      const std::lock_guard lock{core.mutex_};
      std::erase(core.lenders_, this);
    }
  }
  // The bell may have rung for a task that this thread has no time for now.
  core.pass_on();
}

// ---- outcomes ----------------------------------------------------------------------------------

void thread_core::settle(thread_job& job, std::uint32_t items) {
  if (job.left_.fetch_sub(items) != items) {
    return;
  }
  std::shared_ptr<const failure> first;
  if (job.rare_) {
    auto& ends = job.rare_->ends;
    std::sort(ends.begin(), ends.end(),
              [](const auto& a, const auto& b) { return a.item < b.item; });
    if (!ends.empty()) {
      first = ends.front().what;
    }
  }
  const std::shared_ptr<thread_group> group = job.group;
  if (job.options_->deadline) {
    forget_deadline(job);
  }
  job.finish(std::move(first));
  if (group) {
    group->job_done(job);
  }
}

void thread_core::fail(thread_job& job, std::uint32_t item, const std::exception_ptr& thrown,
                       std::shared_ptr<const failure> what) {
  const bool was_cancelled = what->code == errc::cancelled && !thrown;
  (was_cancelled ? cancelled_ : failed_).fetch_add(1, std::memory_order_relaxed);
  {
    const std::lock_guard lock{control_};
    job.rare().ends.push_back({item, thrown, std::move(what)});
  }
  if (job.group && job.group->all_or_nothing && !was_cancelled) {
    job.group->cut_after(job.first_item + item);
  }
  settle(job, 1);
}

void thread_core::fail_thrown(thread_job& job, std::uint32_t item,
                              const std::exception_ptr& thrown) {
  failure what = capture_failure(thrown);
  what.task = job.number_;
  what.attempt = 1;
  fail(job, item, thrown, std::make_shared<const failure>(std::move(what)));
}

std::shared_ptr<const failure> thread_core::plain(errc code, task_ran ran, const std::string& text,
                                                  const thread_job& job) const {
  auto what = std::make_shared<failure>();
  what->code = code;
  what->ran = ran;
  what->text = text;
  what->task = job.number_;
  what->attempt = ran == task_ran::no ? 0 : 1;
  return what;
}

std::uint32_t thread_core::cancel_rest(thread_job& which, const std::string& why, errc code) {
  const std::uint32_t count = which.count_;
  const std::uint32_t first = which.next_.exchange(count);
  if (first >= count) {
    return 0;
  }
  note_claimed(count - first, false);
  which.drop(first, count);
  const auto what = plain(code, task_ran::no, why, which);
  std::uint32_t ended = 0;
  {
    const std::lock_guard lock{control_};
    for (std::uint32_t item = first; item < count; ++item) {
      if (which.claim_outcome(item)) {
        which.rare().ends.push_back({item, nullptr, what});
        ++ended;
      }
    }
  }
  (code == errc::cancelled ? cancelled_ : failed_).fetch_add(ended, std::memory_order_relaxed);
  if (ended > 0) {
    settle(which, ended);
  }
  return ended;
}

// ---- what is asked -----------------------------------------------------------------------------

std::vector<worker_info> thread_core::workers() {
  std::vector<worker_info> found;
  const std::lock_guard lock{mutex_};
  for (const auto& each : workers_) {
    if (each->present) {
      found.push_back({static_cast<std::uint64_t>(each->index) + 1, each->thread_id.load()});
    }
  }
  return found;
}

pool_stats thread_core::stats() {
  pool_stats found;
  const std::lock_guard lock{mutex_};
  found.submitted = submitted_;
  found.queued = queued_.load();
  found.failed = failed_.load();
  found.cancelled = cancelled_.load();
  for (const auto& each : workers_) {
    found.succeeded += each->succeeded.load(std::memory_order_relaxed);
    found.running += each->busy.load(std::memory_order_relaxed);
    found.workers += each->present ? 1 : 0;
  }
  return found;
}

std::vector<std::shared_ptr<thread_job>> thread_core::running_jobs() {
  std::vector<std::shared_ptr<thread_job>> found;
  const std::lock_guard lock{mutex_};
  for (const auto& each : workers_) {
    for (thread_job* const job : each->running) {
      // Whoever runs it holds it until it is no longer in the list.
      found.push_back(std::static_pointer_cast<thread_job>(job->shared_from_this()));
    }
  }
  return found;
}

// ---- what the templates call -------------------------------------------------------------------

thread_core_ptr make_thread_pool(const thread_pool_options& options) {
  constexpr int most_workers = 4096;
  const auto refuse = [](const std::string& text) {
    throw std::invalid_argument{"troupe::thread_pool: " + text};
  };
  if (options.workers < 1 || options.workers > most_workers) {
    refuse(".workers = " + std::to_string(options.workers) + " is not between 1 and " +
           std::to_string(most_workers) + " (leave it out for usable_cpus())");
  }
  if (options.grace.count() < 0) {
    refuse(".grace = " + std::to_string(options.grace.count()) + " ms is negative");
  }
  auto core = std::make_shared<thread_core>(options);
  core->start();
  return core;
}

bool submit(const thread_core_ptr& pool, std::shared_ptr<thread_job> job, bool may_block) {
  return pool->submit(std::move(job), may_block);
}
void close(const thread_core_ptr& pool) {
  pool->close();
}
void join(const thread_core_ptr& pool) {
  pool->join();
}
void terminate(const thread_core_ptr& pool) {
  pool->terminate(pool->options().grace);
}
void resize(const thread_core_ptr& pool, int workers) {
  pool->resize(workers);
}
void end_pool(const thread_core_ptr& pool) noexcept {
  if (pool) {
    pool->end();
  }
}
const options_ptr& defaults_of(const thread_core_ptr& pool) {
  return pool->task_defaults();
}
std::vector<worker_info> workers_of(const thread_core_ptr& pool) {
  return pool->workers();
}
pool_stats stats_of(const thread_core_ptr& pool) {
  return pool->stats();
}

}  // namespace troupe::detail
