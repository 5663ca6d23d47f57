// SPDX-License-Identifier: BSD-3-Clause

// Maps on threads: input pulled through a window, outcomes in order.

#include "troupe/policy.hpp"

#include "futures/made_here.hpp"
#include "pools/map_errors.hpp"
#include "pools/option_checks.hpp"
#include "pools/pull_turn.hpp"
#include "pools/thread/thread_core_impl.hpp"

#include <algorithm>
#include <deque>
#include <exception>
#include <utility>

namespace troupe::detail {
namespace {

/// Items in one submission of a map whose results are wanted all at once.
constexpr std::size_t max_submission_items = 1024;
/// Pulling one submission's items should not take longer, or the workers wait for a slow input.
constexpr auto max_pull_time = std::chrono::microseconds{200};

/// The submissions of a map that are not handed out yet.
class session_group final : public thread_group {
 public:
  explicit session_group(bool in_order) : in_order_{in_order} {}

  void submission_done(thread_submission& finished) override {
    if (in_order_) {
      return;  // the session waits for the submissions themselves
    }
    std::shared_ptr<wake_flag> bell;
    {
      const std::lock_guard lock{mutex_};
      done_.push_back(&finished);
      bell = bell_;
    }
    bell->wake();
  }

  /// The next submission that ended, in that order; null: none has.
  thread_submission* any() {
    const std::lock_guard lock{mutex_};
    if (done_.empty()) {
      return nullptr;
    }
    thread_submission* const first = done_.front();
    done_.pop_front();
    return first;
  }
  [[nodiscard]] const std::shared_ptr<wake_flag>& bell() const { return bell_; }

 private:
  const bool in_order_;
  const std::shared_ptr<wake_flag> bell_ = std::make_shared<wake_flag>();
  std::mutex mutex_;
  std::deque<thread_submission*> done_;  // guarded by mutex_; the session keeps them alive
};

/// Done when any submission of a session is: what a worker that waits for results in any order
/// waits for.
class any_submission final : public future_state {
 public:
  explicit any_submission(std::shared_ptr<thread_core> core) : core_{std::move(core)} {}
  void each_value(const std::function<void(std::span<const std::byte>)>&) const override {}
  bool cancel(bool) override { return false; }
  [[nodiscard]] bool running() const override { return true; }
  void happened() {
    if (!once_.exchange(true)) {
      finish(nullptr);
    }
  }

 protected:
  [[nodiscard]] executor callbacks() const override { return {}; }

 private:
  std::shared_ptr<thread_core> core_;
  std::atomic<bool> once_{false};
};

class all_submissions;

/// The group of a map_async. Its submissions keep it, and until all of them have ended it keeps the
/// future, which keeps the submissions.
class async_group final : public thread_group {
 public:
  void submission_done(thread_submission& finished) override;

  std::shared_ptr<all_submissions>
      whole;  ///< changed before the first submission and after the last
};

/// The future of a map_async: ends when all of its submissions have.
class all_submissions final : public future_state {
 public:
  explicit all_submissions(std::shared_ptr<thread_core> core)
      : core_{std::move(core)}, group_{std::make_shared<async_group>()} {}

  void submission_done(const thread_submission& finished) {
    report({items_done_.fetch_add(finished.count()) + finished.count(), items_.load(), {}});
    part_done();
  }
  [[nodiscard]] const std::shared_ptr<async_group>& group() const noexcept { return group_; }
  /// All submissions are known now.
  void seal() { part_done(); }
  void expect_one() { left_.fetch_add(1); }
  void add(std::shared_ptr<thread_submission> part) {
    items_ += part->count();
    submissions_.push_back(std::move(part));
  }
  /// The last one was not submitted after all.
  void drop_last() {
    items_ -= submissions_.back()->count();
    submissions_.pop_back();
    part_done();
  }
  void cancel_all() {
    group_->cut_all();
    for (const auto& part : submissions_) {
      part->cancel(false);
    }
  }

  [[nodiscard]] const thread_core* core() const noexcept { return core_.get(); }
  [[nodiscard]] const std::vector<std::shared_ptr<thread_submission>>& submissions() const {
    return submissions_;
  }

  void each_value(const std::function<void(std::span<const std::byte>)>&) const override {}
  bool cancel(bool force) override {
    if (done()) {
      return false;
    }
    bool certain = true;
    for (auto part = submissions_.rbegin(); part != submissions_.rend(); ++part) {
      certain = ((*part)->done() || (*part)->cancel(force)) && certain;
    }
    return certain && done();
  }
  [[nodiscard]] bool running() const override {
    return std::any_of(submissions_.begin(), submissions_.end(),
                       [](const auto& part) { return part->running(); });
  }
  [[nodiscard]] task_counts counts() const override {
    task_counts found{.total = items_.load(),
                      .failed = group_->failed_items.load(),
                      .cancelled = group_->cancelled_items.load(),
                      .retried = group_->retried_items.load()};
    std::uint64_t left = 0;
    for (const auto& part : submissions_) {
      // In this order: what is claimed meanwhile is then counted as queued, and not as both.
      const std::uint32_t waiting = part->unclaimed() + part->pending_retries();
      const std::uint32_t undecided = part->undecided();
      found.queued += std::min(waiting, undecided);
      left += undecided;
    }
    found.running = left - found.queued;
    found.succeeded =
        found.total - left - std::min(found.total - left, found.failed + found.cancelled);
    return found;
  }

 protected:
  [[nodiscard]] executor callbacks() const override {
    return [core = core_](std::function<void()> function) {
      core->callbacks()->run(std::move(function));
    };
  }
  [[nodiscard]] std::exception_ptr original() const override { return thrown_; }

 private:
  void part_done() {
    if (left_.fetch_sub(1) != 1) {
      return;
    }
    // The first failure in input order; what was cancelled because of it is not the reason.
    std::shared_ptr<const failure> why;
    for (const auto& part : submissions_) {
      if (!part->failed()) {
        continue;
      }
      for (std::uint32_t item = 0; item < part->count(); ++item) {
        const failure* const one = part->item_failure(item);
        if (one != nullptr &&
            (!why || (why->code == errc::cancelled && one->code != errc::cancelled))) {
          why = std::make_shared<const failure>(*one);
          thrown_ = part->item_exception(item);
        }
      }
      if (why && why->code != errc::cancelled) {
        break;
      }
    }
    const std::shared_ptr<all_submissions> self = std::move(group_->whole);
    finish(std::move(why));
  }

  std::shared_ptr<thread_core> core_;
  std::shared_ptr<async_group> group_;
  std::vector<std::shared_ptr<thread_submission>> submissions_;
  std::exception_ptr thrown_;
  std::atomic<std::uint64_t> items_{0};
  std::atomic<std::uint64_t> items_done_{0};
  std::atomic<std::size_t> left_{1};
};

void async_group::submission_done(thread_submission& finished) {
  whole->submission_done(finished);
}

}  // namespace

const thread_core* owner_of(const future_state& state) noexcept {
  if (const auto* const submission = dynamic_cast<const thread_submission*>(&state)) {
    return submission->owner();
  }
  const auto* const all = dynamic_cast<const all_submissions*>(&state);
  return all != nullptr ? all->core() : nullptr;
}

const std::vector<std::shared_ptr<thread_submission>>& jobs_of(const future_state& all) {
  return static_cast<const all_submissions&>(all).submissions();
}

struct thread_map::state {
  enum class step : std::uint8_t { sent, no_room, over };

  std::shared_ptr<thread_core> pool;
  settings how;
  std::shared_ptr<session_group> group;
  int exceptions_before = std::uncaught_exceptions();

  // For the thread that has the turn.
  pull_turn turn;
  std::deque<std::shared_ptr<thread_submission>> waiting;  // in input order
  std::shared_ptr<thread_submission> unsent;  // pulled, and there was no room for it yet
  std::size_t in_flight = 0;                  // items pulled, and their submission not handed out
  std::size_t submission_items = 1;
  std::uint64_t pulled = 0;
  bool slow_input = false;
  bool exhausted = false;
  bool refused = false;           ///< a submission was
  std::exception_ptr stopped_by;  ///< comes behind the results of what was submitted

  // The reader's.
  bool begun = false;
  bool read_to_end = false;
  std::shared_ptr<thread_submission> current;
  std::uint32_t next_item = 0;
  place handed_out;
  bool submitted = false;

  std::atomic<bool> given_up{false};  ///< by its reader, or a result was not there in time

  state(engine_ptr p, const settings& h)
      : pool{std::static_pointer_cast<thread_core>(std::move(p))},
        how{h},
        group{std::make_shared<session_group>(h.ordered)} {
    group->all_or_nothing = how.all_or_nothing;
    group->stops_what_it_cuts = true;
    submission_items = std::max<std::size_t>(how.map.chunk, 1);
  }

  [[nodiscard]] std::size_t window() const {
    if (how.map.window > 0) {
      return how.map.window;
    }
    const auto workers = static_cast<std::size_t>(pool->most_at_once());
    return std::max(
        {submission_items * (workers + 1) * 2, how.map.chunk * workers * 2, workers * 2});
  }

  /// No more is to be pulled.
  [[nodiscard]] bool at_end() const {
    return (exhausted && !unsent) || group->was_cut() || given_up.load(std::memory_order_relaxed);
  }

  /// Pulls up to `most` items into one submission; null means the input is used up.
  std::shared_ptr<thread_submission> pull_submission(thread_input& input, std::size_t most) {
    std::shared_ptr<thread_submission> built = input.open(pool, how.task, most);
    const auto begun_at = std::chrono::steady_clock::now();
    std::size_t count = 0;
    bool slow = false;
    try {
      while (count < most && !slow) {
        if (!input.pull(*built)) {
          exhausted = true;
          break;
        }
        ++count;
        constexpr std::size_t look_at_the_clock = 16;
        slow = (count < look_at_the_clock || count % look_at_the_clock == 0) && count < most &&
               std::chrono::steady_clock::now() - begun_at > max_pull_time;
      }
    } catch (...) {
      // What came before is computed and handed out; then this comes.
      exhausted = true;
      stopped_by = std::current_exception();
    }
    slow = slow || std::chrono::steady_clock::now() - begun_at > max_pull_time;
    slow_input = slow;
    if (how.streamed && how.map.chunk > 0) {
      // As many as the caller said: the reader gets results when all of their submission are there, so in
      // a larger one the first would wait for the last.
    } else if (slow) {
      submission_items = std::max<std::size_t>(1, submission_items / 2);
    } else if (how.streamed) {
      const std::int64_t mean = group->mean_ns.load(std::memory_order_relaxed);
      submission_items = chunk_for(std::chrono::nanoseconds{mean}, mean > 0, submission_items);
    } else {
      submission_items = std::min(max_submission_items, submission_items * 2);
    }
    submission_items = std::max(submission_items, how.map.chunk);
    if (count == 0) {
      return nullptr;
    }
    built->first_item = pulled;
    pulled += input.seal(*built);
    built->task_range =
        static_cast<std::uint32_t>(how.task->timeout || built->is_coroutine()
                                       ? 1
                                       : std::clamp<std::size_t>(how.map.chunk, 1, count));
    return built;
  }

  /// Pulls and submits the next submission; waits for room until then.
  step submit_next(thread_input& input, std::size_t most, const deadline& until) {
    std::shared_ptr<thread_submission> built =
        unsent ? std::move(unsent) : pull_submission(input, most);
    if (!built) {
      return step::over;
    }
    built->group = group;
    const std::size_t count = built->count();
    // Known before it is submitted: it may be done at once.
    waiting.push_back(built);
    try {
      const bool submitted_before = std::exchange(submitted, true);
      if (submit(pool, built, true, until)) {
        in_flight += count;
        return step::sent;
      }
      submitted = submitted_before;
      unsent = std::move(built);
      waiting.pop_back();
      return step::no_room;
    } catch (...) {
      refused = true;
      stopped_by = std::current_exception();
    }
    // What was submitted before is computed and handed out; then this comes.
    exhausted = true;
    waiting.pop_back();
    return step::over;
  }

  void fill(thread_input& input) {
    while (!at_end()) {
      const std::size_t limit = window();
      // Without a bound that was asked for, half-empty is early enough, and makes fewer, larger
      // submissions.
      const bool enough = how.map.window == 0 && in_flight > limit / 2 &&
                          limit - std::min(limit, in_flight) < submission_items;
      if (in_flight >= limit || enough ||
          submit_next(input, std::min(submission_items, limit - in_flight), std::nullopt) !=
              step::sent) {
        return;
      }
    }
  }

  /// One turn of pulling the rest. False: there is no more, or the time is over.
  bool pull_more(thread_input& input, const deadline& until) {
    if (at_end()) {
      return false;
    }
    if (until && *until <= std::chrono::steady_clock::now()) {
      exhausted = true;
      unsent.reset();
      stopped_by = not_submitted_in_time();
      return false;
    }
    // How long the items take is hardly known when most are pulled. The first results are wanted
    // early, and a million must not be a million submissions: a submission is small next to what is
    // before it.
    std::size_t most = submission_items;
    if (!slow_input) {
      most = std::max(most, std::min<std::size_t>(max_submission_items, pulled / 64));
    }
    if (how.map.chunk > 1) {
      most += (how.map.chunk - most % how.map.chunk) % how.map.chunk;
    }
    const std::size_t bound = pool->options().max_queued;
    return submit_next(input, bound == 0 ? most : std::min(most, bound), end_of_turn(until)) !=
           step::over;
  }

  /// Makes the next submission current. False: there is none.
  bool next_submission(thread_input& input) {
    const std::size_t handed_out_now = current ? current->count() : 0;
    current.reset();
    next_item = 0;
    std::unique_lock lock{turn};
    in_flight -= handed_out_now;
    fill(input);
    if (waiting.empty()) {
      if (stopped_by && !given_up) {
        std::rethrow_exception(std::exchange(stopped_by, nullptr));
      }
      return false;
    }
    auto found = waiting.begin();
    if (!how.ordered) {
      lock.unlock();
      const thread_submission* const first = wait_any();
      lock.lock();
      if (first == nullptr) {
        lock.unlock();
        give_up();
      }
      found = std::find_if(waiting.begin(), waiting.end(),
                           [first](const auto& one) { return one.get() == first; });
    }
    current = std::move(*found);
    waiting.erase(found);
    return true;
  }

  /// The next submission that ended; null: the time was over first.
  thread_submission* wait_any() {
    if (wait_helper::of_this_thread() != nullptr) {
      // A worker does other work meanwhile, so it needs something to wait for.
      const auto any = std::make_shared<any_submission>(pool);
      for (const auto& one : waiting) {
        one->observe([any](future_state&) { any->happened(); });
      }
      any->wait(std::nullopt);
    }
    for (;;) {
      const std::uint32_t seen = group->bell()->look();
      if (thread_submission* const one = group->any()) {
        return one;
      }
      if (!group->bell()->sleep(seen, how.until) && how.until) {
        return group->any();
      }
    }
  }

  [[noreturn]] void give_up() {
    if (!given_up.exchange(true)) {
      cancel_all();
    }
    throw_result_late();
  }

  void cancel_all() {
    group->cut_all();
    std::deque<std::shared_ptr<thread_submission>> all;
    if (std::unique_lock lock{turn, std::defer_lock}; !turn.is_mine() && lock.try_lock()) {
      all = waiting;
      if (!how.ordered && given_up) {
        waiting.clear();
      }
    }  // else what is being pulled finds that it was cut
    if (current) {
      all.push_front(current);
    }
    cancel_rest_of(all);
    pool->stop_what_is_cut(*group);
  }

  void cancel_rest_of(const std::deque<std::shared_ptr<thread_submission>>& submissions) {
    // From the end, so that nothing begins meanwhile.
    for (auto one = submissions.rbegin(); one != submissions.rend(); ++one) {
      pool->cancel_rest(**one,
                        "cancelled before it began: another item of its map failed, or the map "
                        "was given up");
    }
  }
};

thread_map::thread_map(engine_ptr pool, const settings& how)
    : state_{std::make_unique<state>(std::move(pool), how)} {}

thread_map::~thread_map() {
  abandon();
}

void thread_map::prefetch(thread_input& input) {
  const std::lock_guard lock{state_->turn};
  state_->fill(input);
}

void thread_map::pull_rest(thread_input& input, const deadline& until, bool patient) noexcept {
  state& s = *state_;
  if (s.turn.is_mine()) {
    return;  // the input itself asks for it
  }
  for (;;) {
    {
      std::unique_lock lock{s.turn, std::defer_lock};
      if (patient) {
        lock.lock();
      } else if (!lock.try_lock()) {
        return;
      }
      try {
        if (!s.pull_more(input, until)) {
          return;
        }
      } catch (...) {
        s.exhausted = true;
        s.stopped_by = std::current_exception();
        return;
      }
    }
    s.turn.let_others();
  }
}

void thread_map::throw_if_refused() const {
  const std::lock_guard lock{state_->turn};
  if (state_->refused && state_->waiting.empty()) {
    std::rethrow_exception(state_->stopped_by);
  }
}

void thread_map::abandon() noexcept {
  if (state_ && !state_->pool->is_of_this_process()) {
    // What runs is not in this process to be waited for.
    static_cast<void>(state_.release());
  }
  if (!state_) {
    return;
  }
  state& s = *state_;
  // What nobody has begun to read of a map that runs unread goes on, unless an exception leaves the
  // frame that the function may refer to.
  const bool ends = s.begun || std::uncaught_exceptions() > s.exceptions_before;
  // An item that has a value was left by its own thread; one that failed may have been given up.
  const bool all_have_values = s.read_to_end && !s.group->was_cut() &&
                               s.group->failed_items.load() == 0 &&
                               s.group->cancelled_items.load() == 0;
  if (ends && !all_have_values) {
    s.given_up = true;  // so that another thread that is pulling stops
    s.cancel_all();
  }
  std::deque<std::shared_ptr<thread_submission>> dropped;
  bool may_run = false;
  {
    std::unique_lock lock{s.turn, std::defer_lock};
    if (!s.turn.is_mine()) {
      lock.lock();
    }
    may_run = s.submitted;
    s.exhausted = true;
    s.stopped_by = nullptr;
    s.unsent.reset();
    dropped.swap(s.waiting);
  }
  if (ends && !all_have_values) {
    // Those that another thread pulled meanwhile, and what is between two attempts.
    s.cancel_rest_of(dropped);
  }
  s.current.reset();
  if (ends && may_run && !all_have_values) {
    s.pool->wait_until_nothing_runs(*s.group);
  }
}

void thread_map::finish(thread_input& input) noexcept {
  state& s = *state_;
  if (s.pool->is_of_this_process() && s.how.run_unread && !s.begun) {
    if (std::uncaught_exceptions() <= s.exceptions_before) {
      pull_rest(input, std::nullopt, true);
    }
    std::exception_ptr why;
    if (!s.turn.is_mine()) {
      const std::lock_guard lock{s.turn};
      why = s.stopped_by;
    }
    log_unread(why);
  }
  abandon();
}

const thread_map::place* thread_map::next(thread_input& input) {
  state& s = *state_;
  check_not_inherited(s.pool);
  if (s.turn.is_mine()) {
    throw_input_reads_map();
  }
  s.begun = true;
  if (!s.current || s.next_item >= s.current->count()) {
    if (!s.next_submission(input)) {
      s.read_to_end = true;
      return nullptr;
    }
  }
  if (!s.current->wait(s.how.until)) {
    ++s.next_item;  // it throws at the position of each result that is not there
    s.give_up();
  }
  const std::uint32_t which = s.next_item++;
  if (s.how.all_or_nothing && which == 0) {
    // The first one in input order: a failure cuts off only what comes after it.
    s.current->rethrow_failure();
  }
  s.handed_out = {s.current.get(), which};
  return &s.handed_out;
}

std::shared_ptr<future_state> thread_map::run_async(thread_input& input) {
  state& s = *state_;
  refuse_timeout(s.how.map);
  const auto all = std::make_shared<all_submissions>(s.pool);
  all->group()->whole = all;
  s.how.streamed = false;
  std::exception_ptr problem;
  while (!s.exhausted) {
    try {
      std::shared_ptr<thread_submission> built = s.pull_submission(input, s.submission_items);
      if (!built) {
        break;
      }
      built->group = all->group();
      all->expect_one();
      all->add(built);
      try {
        submit(s.pool, std::move(built), true);
      } catch (...) {
        all->drop_last();
        throw;
      }
    } catch (...) {
      problem = std::current_exception();
      break;
    }
  }
  if (!problem) {
    problem = std::exchange(s.stopped_by, nullptr);
  }
  if (problem) {
    all->cancel_all();
    // There is no future by which the caller could wait for what has begun.
    s.pool->wait_until_nothing_runs(*all->group());
  }
  all->seal();
  if (problem) {
    std::rethrow_exception(problem);
  }
  return all;
}

}  // namespace troupe::detail
