// SPDX-License-Identifier: BSD-3-Clause

// Maps on processes: the `Kind` of `map_flow` for pools of processes.

#include "base/thread_safety.hpp"
#include "futures/made_here.hpp"
#include "os/library_thread.hpp"
#include "pools/map_flow.hpp"
#include "pools/option_checks.hpp"
#include "pools/process/pool_core_impl.hpp"
#include "pools/submission/process_submission.hpp"
#include "pools/supervisor/supervisor.hpp"

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
    {
      const mutex_guard lock{mutex_};
      if (finished.run_items > 0) {
        mean_ns_ =
            static_cast<double>(finished.run_nanoseconds) / static_cast<double>(finished.run_items);
      }
      if (in_order) {
        return;  // results in input order: the session waits for each submission in turn
      }
      done_.push_back(&finished);
    }
    flag_.wake();
  }

  /// The next submission that ended, in that order; waits for one. Null: the deadline passed first.
  process_submission* wait_any(const deadline& until) {
    for (bool in_time = true;;) {
      const std::uint32_t seen = flag_.look();
      if (process_submission* const one = any(); one != nullptr || !in_time) {
        return one;
      }
      in_time = flag_.sleep(seen, until) || !until;
    }
  }

  double mean_ns() {
    const mutex_guard lock{mutex_};
    return mean_ns_;
  }

  bool in_order = true;  ///< set before the first submission

 private:
  process_submission* any() {
    const mutex_guard lock{mutex_};
    if (done_.empty()) {
      return nullptr;
    }
    process_submission* const first = done_.front();
    done_.pop_front();
    return first;
  }

  wake_flag flag_;
  guarded_mutex mutex_;
  std::deque<process_submission*> done_ TROUPE_GUARDED_BY(mutex_);  // the session keeps them alive
  double mean_ns_ TROUPE_GUARDED_BY(mutex_) = 0;                    // 0: not measured
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
    const bool certain = done();  // if true, nothing had begun that had no outcome
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
    // All in one turn of the supervisor, if it still exists.
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
    first_failure first;
    std::shared_ptr<const failure> why;
    for (auto part = submissions_.begin(); part != submissions_.end() && !first.is_certain();
         ++part) {
      if (!(*part)->failed()) {
        continue;
      }
      for (std::uint32_t item = 0; item < (*part)->count && !first.is_certain(); ++item) {
        const failure* const one = (*part)->item_failure(item);
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

/// How `map_flow` submits to a pool of processes.
struct process_flow {
  using submission = process_submission;
  using input = const puller;
  using submissions = std::deque<std::shared_ptr<process_submission>>;
  using batch = submission_builder;

  [[nodiscard]] batch open(const puller&, std::size_t /*most*/) const {
    submission_builder built{pool};
    built.same_callable(callable);
    return built;
  }
  bool pull(const puller& from, batch& into) const { return from(into); }
  [[nodiscard]] bool fits(const batch& into) const {
    return into.bytes() < max_job_bytes && into.attachments() <= max_attachments_of_part;
  }
  [[nodiscard]] std::size_t items(const batch& of) const { return of.count(); }
  void seal(const puller&, batch&, std::uint64_t /*first*/) const {}
  std::shared_ptr<process_submission> submit(batch& one, const deadline& until) const {
    return pool->submit(std::move(one), task, group, static_cast<std::uint32_t>(chunk), true,
                        until);
  }
  [[nodiscard]] std::size_t count(const process_submission& one) const { return one.count; }

  [[nodiscard]] std::chrono::nanoseconds mean_item_time() const {
    return std::chrono::nanoseconds{static_cast<std::int64_t>(group->mean_ns())};
  }
  [[nodiscard]] std::size_t tasks_at_once() const {
    return static_cast<std::size_t>(pool->most_workers()) *
           static_cast<std::size_t>(pool->options().concurrency);
  }
  [[nodiscard]] std::size_t max_queued() const { return pool->options().max_queued; }
  [[nodiscard]] bool was_cut() const { return group->cancelled; }

  template <class All>
  process_submission* wait_any(const All&, const deadline& until) const {
    return group->wait_any(until);
  }
  [[nodiscard]] bool is_over(bool read_to_end) const { return read_to_end; }
  void give_up(const submissions&) const { pool->cancel_group(group); }
  void cancel_rest(const submissions& all) const {
    if (!all.empty()) {
      pool->cancel_group(group);
    }
  }

  std::shared_ptr<pool_core> pool;
  submission_builder callable;
  options_ptr task;
  std::size_t chunk = 0;
  std::shared_ptr<session_group> group;
};

using session_flow = map_flow<process_flow>;

}  // namespace

struct map_session::state : session_flow {
  state(process_flow with, const session_flow::rules& by, const map_options& as_given)
      : session_flow{std::move(with), by}, how{as_given} {}
  const map_options how;
  item handed_out;
};

map_session::map_session(engine_ptr pool, submission_builder callable, const map_settings& how) {
  auto group = std::make_shared<session_group>();
  group->all_or_nothing = how.all_or_nothing;
  group->in_order = how.ordered;
  state_ = std::make_unique<state>(
      process_flow{std::static_pointer_cast<pool_core>(std::move(pool)), std::move(callable),
                   how.task, how.map.chunk, std::move(group)},
      session_flow::rules{{how.map.chunk, how.map.window, how.streamed},
                  how.ordered,
                  how.all_or_nothing,
                  how.run_unread,
                  how.until},
      how.map);
}

map_session::~map_session() {
  abandon();
}

void map_session::prefetch(const puller& pull) {
  state_->prefetch(pull);
}

void map_session::pull_rest(const puller& pull, const deadline& until, bool patient) noexcept {
  state_->pull_rest(pull, until, patient);
}

void map_session::throw_if_refused() const {
  state_->throw_if_refused();
}

void map_session::abandon() noexcept {
  if (state_ && is_inherited(state_->kind.pool)) {
    keep_for_ever(std::move(state_));  // threads that do not exist here may hold its locks
  }
  if (state_) {
    state_->abandon();
  }
}

void map_session::finish(const puller& pull) noexcept {
  if (state_ && !is_inherited(state_->kind.pool)) {
    state_->pull_unread(pull);
  }
  abandon();
}

const map_session::item* map_session::next(const puller& pull) {
  state& s = *state_;
  check_not_inherited(s.kind.pool);
  if (!s.next(pull)) {
    return nullptr;
  }
  const process_submission& from = s.current();
  const failure* const failed = from.item_failure(s.position());
  s.handed_out = {failed == nullptr ? from.value(s.position()) : std::span<const std::byte>{},
                  failed, &from.result_attachments()};
  return &s.handed_out;
}

std::shared_ptr<future_state> map_session::run_async(const puller& pull) {
  state& s = *state_;
  refuse_timeout(s.how);
  auto all = std::make_shared<group_future>(s.kind.pool);
  try {
    s.pull_all(pull, [&](submission_builder&& built) {
      all->expect(built.count());
      all->add(s.kind.pool->submit(std::move(built), s.kind.task, all,
                                   static_cast<std::uint32_t>(s.kind.chunk), true));
    });
  } catch (...) {
    s.kind.pool->cancel_group(all);
    throw;
  }
  all->seal();
  return all;
}

}  // namespace troupe::detail
