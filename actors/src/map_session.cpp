// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/policy.hpp"

#include "job.hpp"
#include "pool_core_impl.hpp"
#include "supervisor_actor.hpp"

#include <algorithm>
#include <chrono>
#include <deque>
#include <exception>
#include <utility>

namespace troupe::detail {
namespace {

/// Items in one job of a map whose results are wanted all at once.
constexpr std::size_t max_job_items = 1024;
constexpr std::size_t max_job_bytes = 32 * 1024;
/// Pulling one job's items should not take longer, or the workers wait for a slow input.
constexpr auto max_pull_time = std::chrono::microseconds{200};

/// The jobs of a map that are not handed out yet.
class session_group final : public job_group {
 public:
  void job_done(job& finished) override {
    const std::lock_guard lock{mutex_};
    if (finished.run_items > 0) {
      mean_ns_ =
          static_cast<double>(finished.run_nanoseconds) / static_cast<double>(finished.run_items);
    }
    if (in_order) {
      return;  // the session waits for the jobs themselves
    }
    done_.push_back(&finished);
    moved_.fetch_add(1);
    futex_wake_all(moved_);
  }

  /// The next job that ended, in that order; waits for one. Null: the deadline passed first.
  job* wait_any(const deadline& until) {
    for (;;) {
      const std::uint32_t moved = moved_.load();
      {
        const std::lock_guard lock{mutex_};
        if (!done_.empty()) {
          job* const first = done_.front();
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

  double mean_ns() {
    const std::lock_guard lock{mutex_};
    return mean_ns_;
  }

  bool in_order = true;  ///< set before the first job

 private:
  std::mutex mutex_;
  std::deque<job*> done_;  // guarded by mutex_; the session keeps them alive
  double mean_ns_ = 0;     // guarded by mutex_; 0: not measured
  std::atomic<std::uint32_t> moved_{0};
};

/// The future of a map_async: ends when all of its jobs have.
class group_future final : public future_state, public job_group {
 public:
  explicit group_future(std::shared_ptr<pool_core> pool) : pool_{std::move(pool)} {}

  void job_done(job& finished) override {
    const std::uint64_t done = items_done_ += finished.count;
    report({done, items_.load(), {}});
    if (left_.fetch_sub(1) == 1) {
      complete();
    }
  }
  /// All jobs are known now.
  void seal() {
    if (left_.fetch_sub(1) == 1) {
      complete();
    }
  }
  void add(std::shared_ptr<job> part) { jobs_.push_back(std::move(part)); }
  void expect(std::size_t items) {
    items_.fetch_add(items);
    left_.fetch_add(1);
  }

  void each_value(const std::function<void(std::span<const std::byte>)>& visit) const override {
    for (const auto& part : jobs_) {
      part->each_value(visit);
    }
  }
  bool cancel(bool force) override {
    if (done()) {
      return false;
    }
    pool_->cancel_group(std::static_pointer_cast<group_future>(shared_from_this()));
    const bool certain = done();  // now, so nothing had begun that had no outcome
    for (const auto& part : jobs_) {
      part->cancel(force);  // what runs is asked to stop
    }
    return certain;
  }
  [[nodiscard]] bool running() const override {
    return std::any_of(jobs_.begin(), jobs_.end(),
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
    for (const auto& part : jobs_) {
      const auto& failed = part->failed();
      if (!failed) {
        continue;
      }
      for (std::uint32_t item = 0; item < part->count; ++item) {
        const failure* one = part->item_failure(item);
        if (one != nullptr &&
            (!why || (why->code == errc::cancelled && one->code != errc::cancelled))) {
          why = std::make_shared<const failure>(*one);
        }
      }
      if (why && why->code != errc::cancelled) {
        break;
      }
    }
    finish(std::move(why));
  }

  std::shared_ptr<pool_core> pool_;
  std::vector<std::shared_ptr<job>> jobs_;
  std::atomic<std::size_t> left_{1};
  std::atomic<std::uint64_t> items_{0};
  std::atomic<std::uint64_t> items_done_{0};
};

}  // namespace

struct map_session::state {
  pool_ptr pool;
  job_builder callable;
  settings how;
  std::shared_ptr<session_group> group = std::make_shared<session_group>();
  std::deque<std::shared_ptr<job>> waiting;  // in input order
  std::shared_ptr<job> current;
  std::uint32_t next_item = 0;
  item handed_out;
  std::size_t in_flight = 0;  // items pulled and not handed out
  std::size_t job_items = 1;
  bool exhausted = false;
  std::exception_ptr input_error;

  state(pool_ptr p, job_builder c, settings h)
      : pool{std::move(p)}, callable{std::move(c)}, how{std::move(h)} {
    group->all_or_nothing = how.all_or_nothing;
    group->in_order = how.ordered;
    job_items = std::max<std::size_t>(how.map.chunk, 1);
  }

  [[nodiscard]] std::size_t window() const {
    if (how.map.window > 0) {
      return how.map.window;
    }
    const auto workers = static_cast<std::size_t>(pool->most_workers()) *
                         static_cast<std::size_t>(pool->options().concurrency);
    return std::max({job_items * (workers + 1) * 2, how.map.chunk * workers * 2, workers * 2});
  }

  /// Pulls up to `most` items into one job; an empty one means the input is used up.
  job_builder pull_job(const puller& pull, std::size_t most) {
    job_builder built{pool};
    built.same_callable(callable);
    const auto begun = std::chrono::steady_clock::now();
    try {
      while (built.count() < most && (built.bytes() < max_job_bytes || built.count() == 0) &&
             (built.cargo() <= max_cargo_of_part || built.count() == 0)) {
        if (!pull(built)) {
          exhausted = true;
          break;
        }
      }
    } catch (...) {
      // What came before is computed and handed out; then this comes.
      exhausted = true;
      input_error = std::current_exception();
    }
    const bool slow = std::chrono::steady_clock::now() - begun > max_pull_time;
    if (how.streamed) {
      if (how.map.chunk == 0) {
        const double mean = group->mean_ns();
        job_items = slow ? std::max<std::size_t>(1, job_items / 2)
                         : chunk_for(std::chrono::nanoseconds{static_cast<std::int64_t>(mean)},
                                     mean > 0, job_items);
      }
    } else if (how.map.chunk == 0) {
      job_items =
          slow ? std::max<std::size_t>(1, job_items / 2) : std::min(max_job_items, job_items * 2);
    } else if (!slow) {
      job_items = std::max(how.map.chunk, std::min(max_job_items, job_items * 2));
    }
    return built;
  }

  [[noreturn]] void give_up() {
    pool->cancel_group(group);
    waiting.clear();
    exhausted = true;
    input_error = nullptr;
    throw timeout_error{
        "troupe: the next result of the map was not there in time: what had not "
        "begun is cancelled",
        task_ran::maybe};
  }

  void fill(const puller& pull) {
    while (!exhausted && !group->cancelled) {
      const std::size_t limit = window();
      // Without a bound that was asked for, half-empty is early enough, and makes fewer, larger
      // jobs.
      const bool enough =
          how.map.window == 0 && in_flight > limit / 2 && limit - in_flight < job_items;
      if (in_flight >= limit || enough) {
        return;
      }
      job_builder built = pull_job(pull, std::min(job_items, limit - in_flight));
      const std::size_t count = built.count();
      if (count == 0) {
        return;
      }
      waiting.push_back(pool->submit(std::move(built), how.task, group,
                                     static_cast<std::uint32_t>(how.map.chunk), true));
      in_flight += count;
    }
  }
};

void map_session::prefetch(const puller& pull) {
  state_->fill(pull);
}

map_session::map_session(pool_ptr pool, job_builder callable, settings how)
    : state_{std::make_unique<state>(std::move(pool), std::move(callable), std::move(how))} {}

map_session::~map_session() {
  if (!state_->waiting.empty()) {
    state_->pool->cancel_group(state_->group);
  }
}

const map_session::item* map_session::next(const puller& pull) {
  state& s = *state_;
  if (s.current && s.next_item < s.current->count) {
    // More of the job at hand.
  } else {
    s.current.reset();
    s.next_item = 0;
    s.fill(pull);
    if (s.waiting.empty()) {
      if (s.input_error) {
        std::rethrow_exception(std::exchange(s.input_error, nullptr));
      }
      return nullptr;
    }
    if (s.how.ordered) {
      if (!s.waiting.front()->wait(s.how.until)) {
        s.give_up();
      }
      s.current = std::move(s.waiting.front());
      s.waiting.pop_front();
    } else {
      const job* const first = s.group->wait_any(s.how.until);
      if (first == nullptr) {
        s.give_up();
      }
      const auto found = std::find_if(s.waiting.begin(), s.waiting.end(),
                                      [first](const auto& one) { return one.get() == first; });
      s.current = std::move(*found);
      s.waiting.erase(found);
    }
    if (s.how.all_or_nothing) {
      // The first one in input order: a failure cuts off only what comes after it.
      s.current->rethrow_failure();
    }
  }
  s.handed_out.failed = s.current->item_failure(s.next_item);
  s.handed_out.cargo = &s.current->result_cargo();
  s.handed_out.value =
      s.handed_out.failed == nullptr ? s.current->value(s.next_item) : std::span<const std::byte>{};
  ++s.next_item;
  --s.in_flight;
  return &s.handed_out;
}

std::shared_ptr<future_state> map_session::run_async(const puller& pull) {
  state& s = *state_;
  auto all = std::make_shared<group_future>(s.pool);
  s.how.streamed = false;
  while (!s.exhausted) {
    job_builder built = s.pull_job(pull, s.job_items);
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
  if (s.input_error) {
    s.pool->cancel_group(all);
    std::rethrow_exception(std::exchange(s.input_error, nullptr));
  }
  all->seal();
  return all;
}

}  // namespace troupe::detail
