// SPDX-License-Identifier: BSD-3-Clause
#include "base/thread_safety.hpp"
#include "futures/made_here.hpp"
#include "pools/map_errors.hpp"
#include "pools/option_checks.hpp"
#include "pools/process/pool_core_impl.hpp"
#include "pools/pull_turn.hpp"
#include "pools/submission/process_submission.hpp"
#include "pools/supervisor/supervisor.hpp"
#include "scheduling/map_window.hpp"

#include <algorithm>
#include <chrono>
#include <deque>
#include <exception>
#include <utility>

namespace troupe::detail {
namespace {

constexpr std::size_t max_job_bytes = 32 * 1024;

/// The submissions of a map that are not handed out yet.
class session_group final : public submission_group {
 public:
  void submission_done(process_submission& finished) override {
    const mutex_guard lock{mutex_};
    if (finished.run_items > 0) {
      mean_ns_ =
          static_cast<double>(finished.run_nanoseconds) / static_cast<double>(finished.run_items);
    }
    if (in_order) {
      return;  // the session waits for the submissions themselves
    }
    done_.push_back(&finished);
    moved_.fetch_add(1);
    futex_wake_all(moved_);
  }

  /// The next submission that ended, in that order; waits for one. Null: the deadline passed first.
  process_submission* wait_any(const deadline& until) {
    for (;;) {
      const std::uint32_t moved = moved_.load();
      {
        const mutex_guard lock{mutex_};
        if (!done_.empty()) {
          process_submission* const first = done_.front();
          done_.pop_front();
          return first;
        }
      }
      if (!futex_wait(moved_, moved, until) && until &&
          *until <= std::chrono::steady_clock::now() && moved_.load() == moved) {
        return nullptr;
      }
    }
  }

  /// How long an item runs; 0: not known yet.
  std::chrono::nanoseconds mean() {
    const mutex_guard lock{mutex_};
    return std::chrono::nanoseconds{static_cast<std::int64_t>(mean_ns_)};
  }

  bool in_order = true;  ///< set before the first submission

 private:
  guarded_mutex mutex_;
  std::deque<process_submission*> done_ TROUPE_GUARDED_BY(mutex_);  // the session keeps them alive
  double mean_ns_ TROUPE_GUARDED_BY(mutex_) = 0;                    // 0: not measured
  std::atomic<std::uint32_t> moved_{0};
};

/// The future of a map_async: ends when all of its submissions have.
class group_future final : public future_state, public submission_group {
 public:
  explicit group_future(std::shared_ptr<pool_core> pool) : pool_{std::move(pool)} {}

  void submission_done(process_submission& finished) override {
    const std::uint64_t done = items_done_ += finished.count;
    report({done, items_.load(), {}});
    if (left_.fetch_sub(1) == 1) {
      complete();
    }
  }
  /// All submissions are known now.
  void seal() {
    if (left_.fetch_sub(1) == 1) {
      complete();
    }
  }
  void add(std::shared_ptr<process_submission> part) { submissions_.push_back(std::move(part)); }
  void expect(std::size_t items) {
    items_.fetch_add(items);
    left_.fetch_add(1);
  }

  void each_value(const std::function<void(std::span<const std::byte>)>& visit) const override {
    for (const auto& part : submissions_) {
      part->each_value(visit);
    }
  }
  bool cancel(bool force) override {
    if (done()) {
      return false;
    }
    pool_->cancel_group(std::static_pointer_cast<group_future>(shared_from_this()));
    const bool certain = done();  // now, so nothing had begun that had no outcome
    for (const auto& part : submissions_) {
      part->cancel(force);  // what runs is asked to stop
    }
    return certain;
  }
  [[nodiscard]] bool running() const override {
    return std::any_of(submissions_.begin(), submissions_.end(),
                       [](const auto& part) { return part->running(); });
  }
  [[nodiscard]] task_counts counts() const override {
    task_counts found{.total = items_.load()};
    const auto look = [&] {
      found.succeeded = succeeded_items;
      found.failed = failed_items;
      found.cancelled = cancelled_items;
      found.retried = retried_items;
    };
    // All at the same moment, if the supervisor is still there.
    if (done() || !pool_->ask([&](supervisor& s) {
          found.running = s.with_workers(*this);
          look();
        })) {
      look();
    }
    found.queued = found.total - found.running - found.succeeded - found.failed - found.cancelled;
    return found;
  }

 protected:
  [[nodiscard]] executor callbacks() const override { return pool_->callback_executor(); }

 private:
  void complete() {
    // The first failure in input order; what was cancelled because of it is not the reason.
    std::shared_ptr<const failure> why;
    first_failure first;
    for (const auto& part : submissions_) {
      if (first.is_certain()) {
        break;
      }
      if (!part->failed()) {
        continue;
      }
      for (std::uint32_t item = 0; item < part->count; ++item) {
        const failure* const one = part->item_failure(item);
        if (one != nullptr && first.is(one->code)) {
          why = std::make_shared<const failure>(*one);
        }
      }
    }
    finish(std::move(why));
  }

  std::shared_ptr<pool_core> pool_;
  std::vector<std::shared_ptr<process_submission>> submissions_;
  std::atomic<std::size_t> left_{1};
  std::atomic<std::uint64_t> items_{0};
  std::atomic<std::uint64_t> items_done_{0};
};

}  // namespace

struct map_session::state {
  enum class step : std::uint8_t { sent, no_room, over };

  std::shared_ptr<pool_core> pool;
  submission_builder callable;
  settings how;
  std::shared_ptr<session_group> group = std::make_shared<session_group>();
  int exceptions_before = std::uncaught_exceptions();

  // For the thread that has the turn.
  pull_turn turn;
  std::deque<std::shared_ptr<process_submission>> waiting;  // in input order
  std::optional<submission_builder> unsent;  // pulled, and there was no room for it yet
  map_window window;
  bool exhausted = false;
  bool refused = false;           ///< a submission was
  std::exception_ptr stopped_by;  ///< comes behind the results of what was submitted

  // The reader's.
  bool begun = false;
  std::shared_ptr<process_submission> current;
  std::uint32_t next_item = 0;
  item handed_out;

  std::atomic<bool> given_up{false};  ///< by its reader, or a result was not there in time

  state(engine_ptr p, submission_builder c, settings h)
      : pool{std::static_pointer_cast<pool_core>(std::move(p))},
        callable{std::move(c)},
        how{std::move(h)},
        window{{how.map.chunk, how.map.window, how.streamed}} {
    group->all_or_nothing = how.all_or_nothing;
    group->in_order = how.ordered;
  }

  [[nodiscard]] std::size_t tasks_at_once() const {
    return static_cast<std::size_t>(pool->most_workers()) *
           static_cast<std::size_t>(pool->options().concurrency);
  }

  /// No more is to be pulled.
  [[nodiscard]] bool at_end() const {
    return (exhausted && !unsent) || group->cancelled || given_up.load(std::memory_order_relaxed);
  }

  /// Pulls up to `most` items into one submission; an empty one means the input is used up.
  submission_builder pull_submission(const puller& pull, std::size_t most) {
    submission_builder built{pool};
    built.same_callable(callable);
    const auto begun_at = std::chrono::steady_clock::now();
    try {
      while (built.count() < most && (built.bytes() < max_job_bytes || built.count() == 0) &&
             (built.attachments() <= max_attachments_of_part || built.count() == 0)) {
        if (!pull(built)) {
          exhausted = true;
          break;
        }
      }
    } catch (...) {
      // What came before is computed and handed out; then this comes.
      exhausted = true;
      stopped_by = std::current_exception();
    }
    window.pulled(built.count(), std::chrono::steady_clock::now() - begun_at, group->mean());
    return built;
  }

  [[noreturn]] void give_up() {
    if (!given_up.exchange(true)) {
      pool->cancel_group(group);
    }
    throw_result_late();
  }

  /// Pulls and submits the next submission; waits for room until then.
  step submit_next(const puller& pull, std::size_t most, const deadline& until) {
    if (!unsent) {
      unsent.emplace(pull_submission(pull, most));
    }
    const std::size_t count = unsent->count();
    if (count == 0) {
      unsent.reset();
      return step::over;
    }
    try {
      auto sent = pool->submit(std::move(*unsent), how.task, group,
                               static_cast<std::uint32_t>(how.map.chunk), true, until);
      if (sent == nullptr) {
        return step::no_room;  // and nothing was moved
      }
      unsent.reset();
      waiting.push_back(std::move(sent));
    } catch (...) {
      // What was submitted before is computed and handed out; then this comes.
      unsent.reset();
      exhausted = true;
      refused = true;
      stopped_by = std::current_exception();
      return step::over;
    }
    window.submitted(count);
    return step::sent;
  }

  void fill(const puller& pull) {
    while (!at_end()) {
      const std::size_t wanted = window.wanted(tasks_at_once());
      if (wanted == 0 || submit_next(pull, wanted, std::nullopt) != step::sent) {
        return;
      }
    }
  }

  /// One turn of pulling the rest. False: there is no more, or the time is over.
  bool pull_more(const puller& pull, const deadline& until) {
    if (at_end()) {
      return false;
    }
    if (until && *until <= std::chrono::steady_clock::now()) {
      exhausted = true;
      unsent.reset();
      stopped_by = not_submitted_in_time();
      return false;
    }
    return submit_next(pull, window.wanted_of_rest(pool->options().max_queued),
                       end_of_turn(until)) != step::over;
  }

  /// Makes the next submission current. False: there is none.
  bool next_submission(const puller& pull) {
    const std::size_t handed_out_now = current ? current->count : 0;
    current.reset();
    next_item = 0;
    std::unique_lock lock{turn};
    window.handed_out(handed_out_now);
    fill(pull);
    if (waiting.empty()) {
      if (stopped_by && !given_up) {
        std::rethrow_exception(std::exchange(stopped_by, nullptr));
      }
      return false;
    }
    auto found = waiting.begin();
    if (!how.ordered) {
      lock.unlock();
      const process_submission* const first = group->wait_any(how.until);
      lock.lock();
      if (first == nullptr) {
        waiting.clear();
        give_up();
      }
      found = std::find_if(waiting.begin(), waiting.end(),
                           [first](const auto& one) { return one.get() == first; });
    }
    current = std::move(*found);
    waiting.erase(found);
    return true;
  }
};

map_session::map_session(engine_ptr pool, submission_builder callable, settings how)
    : state_{std::make_unique<state>(std::move(pool), std::move(callable), std::move(how))} {}

map_session::~map_session() {
  abandon();
}

void map_session::prefetch(const puller& pull) {
  const std::lock_guard lock{state_->turn};
  state_->fill(pull);
}

void map_session::pull_rest(const puller& pull, const deadline& until, bool patient) noexcept {
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
        if (!s.pull_more(pull, until)) {
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

void map_session::throw_if_refused() const {
  const std::lock_guard lock{state_->turn};
  if (state_->refused && state_->waiting.empty()) {
    std::rethrow_exception(state_->stopped_by);
  }
}

void map_session::abandon() noexcept {
  if (state_ && is_inherited(state_->pool)) {
    static_cast<void>(state_.release());  // its locks may be held by threads that are not here
  }
  if (!state_) {
    return;
  }
  state& s = *state_;
  std::deque<std::shared_ptr<process_submission>> dropped;
  const bool ends = s.begun || std::uncaught_exceptions() > s.exceptions_before;
  s.given_up = s.given_up || ends;  // so that another thread that is pulling stops
  {
    std::unique_lock lock{s.turn, std::defer_lock};
    if (!s.turn.is_mine()) {
      lock.lock();
    }
    s.exhausted = true;
    s.stopped_by = nullptr;
    s.unsent.reset();
    dropped.swap(s.waiting);
  }
  s.current.reset();
  if (ends && !dropped.empty()) {
    s.pool->cancel_group(s.group);
  }
}

void map_session::finish(const puller& pull) noexcept {
  state& s = *state_;
  if (!is_inherited(s.pool) && s.how.run_unread && !s.begun) {
    if (std::uncaught_exceptions() <= s.exceptions_before) {
      pull_rest(pull, std::nullopt, true);
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

const map_session::item* map_session::next(const puller& pull) {
  state& s = *state_;
  check_not_inherited(s.pool);
  if (s.turn.is_mine()) {
    throw_input_reads_map();
  }
  s.begun = true;
  if (!s.current || s.next_item >= s.current->count) {
    if (!s.next_submission(pull)) {
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
  s.handed_out.failed = s.current->item_failure(which);
  s.handed_out.attachments = &s.current->result_attachments();
  s.handed_out.value =
      s.handed_out.failed == nullptr ? s.current->value(which) : std::span<const std::byte>{};
  return &s.handed_out;
}

std::shared_ptr<future_state> map_session::run_async(const puller& pull) {
  state& s = *state_;
  refuse_timeout(s.how.map);
  auto all = std::make_shared<group_future>(s.pool);
  s.window.read_at_the_end();
  while (!s.exhausted) {
    submission_builder built = s.pull_submission(pull, s.window.submission_items());
    if (built.count() > 0) {
      all->expect(built.count());
      try {
        all->add(s.pool->submit(std::move(built), s.how.task, all,
                                static_cast<std::uint32_t>(s.how.map.chunk), true));
      } catch (...) {
        s.pool->cancel_group(all);
        throw;
      }
    }
  }
  if (s.stopped_by) {
    s.pool->cancel_group(all);
    std::rethrow_exception(std::exchange(s.stopped_by, nullptr));
  }
  all->seal();
  return all;
}

}  // namespace troupe::detail
