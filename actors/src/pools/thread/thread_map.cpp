// SPDX-License-Identifier: BSD-3-Clause

// Maps on threads: the `Kind` of `map_flow` for thread pools.

#include "futures/made_here.hpp"
#include "pools/map_flow.hpp"
#include "pools/option_checks.hpp"
#include "pools/thread/thread_core.hpp"
#include "pools/thread/thread_map_future.hpp"

#include <algorithm>
#include <chrono>
#include <deque>
#include <exception>
#include <utility>

namespace troupe::detail {
namespace {

/// The submissions of a map that are not handed out yet.
class session_group final : public thread_group {
 public:
  explicit session_group(bool in_order) : in_order_{in_order} {}

  void submission_done(thread_submission& finished) override {
    if (in_order_) {
      return;  // results in input order: the session waits for each submission in turn
    }
    std::shared_ptr<wake_flag> flag;
    {
      const mutex_guard lock{mutex_};
      done_.push_back(&finished);
      flag = flag_;
    }
    flag->wake();
  }

  /// The next submission that ended, in that order; waits for one. Null: the deadline passed first.
  thread_submission* wait_any(const deadline& until) {
    for (bool in_time = true;;) {
      const std::uint32_t seen = flag_->look();
      if (thread_submission* const one = any(); one != nullptr || !in_time) {
        return one;
      }
      in_time = flag_->sleep(seen, until) || !until;
    }
  }

 private:
  thread_submission* any() {
    const mutex_guard lock{mutex_};
    if (done_.empty()) {
      return nullptr;
    }
    thread_submission* const first = done_.front();
    done_.pop_front();
    return first;
  }

  const bool in_order_;
  const std::shared_ptr<wake_flag> flag_ = std::make_shared<wake_flag>();
  guarded_mutex mutex_;
  std::deque<thread_submission*> done_ TROUPE_GUARDED_BY(mutex_);  // the session keeps them alive
};

/// A future that is done when any submission of a session is: a worker that reads results in any
/// order waits for it.
class any_submission final : public future_state {
 public:
  explicit any_submission(std::deque<std::shared_ptr<thread_submission>> of) : of_{std::move(of)} {}
  void each_value(const std::function<void(std::span<const std::byte>)>&) const override {}
  bool cancel(bool) override { return false; }
  [[nodiscard]] bool running() const override { return true; }
  bool any_source(const source_visitor& visit) const override {
    return std::any_of(of_.begin(), of_.end(), visit);
  }
  [[nodiscard]] bool ends_with_first_source() const noexcept override { return true; }
  void happened() {
    if (!once_.exchange(true)) {
      finish(nullptr);
    }
  }

 protected:
  [[nodiscard]] executor callbacks() const override { return {}; }

 private:
  const std::deque<std::shared_ptr<thread_submission>> of_;
  std::atomic<bool> once_{false};
};

/// How `map_flow` submits to a thread pool.
struct thread_flow {
  using submission = thread_submission;
  using input = thread_input;
  using submissions = std::deque<std::shared_ptr<thread_submission>>;
  struct batch {
    std::shared_ptr<thread_submission> built;
    std::size_t items = 0;
  };

  [[nodiscard]] batch open(thread_input& from, std::size_t most) const {
    return {from.open(pool, task, most)};
  }
  bool pull(thread_input& in, batch& into) const {
    const bool more = in.pull(*into.built);
    into.items += more ? 1 : 0;
    return more;
  }
  [[nodiscard]] bool fits(const batch&) const { return true; }
  [[nodiscard]] std::size_t items(const batch& of) const { return of.items; }
  void seal(thread_input& from, batch& filled, std::uint64_t first) const {
    from.seal(*filled.built);
    filled.built->first_item = first;
    filled.built->group = group;
    filled.built->task_range =
        static_cast<std::uint32_t>(task->timeout || filled.built->is_coroutine()
                                       ? 1
                                       : std::clamp<std::size_t>(chunk, 1, filled.items));
  }
  std::shared_ptr<thread_submission> submit(batch& one, const deadline& until) const {
    const bool sent = detail::submit(pool, one.built, true, until);
    return sent ? std::move(one.built) : nullptr;
  }
  [[nodiscard]] std::size_t count(const thread_submission& one) const { return one.count(); }

  [[nodiscard]] std::chrono::nanoseconds mean_item_time() const {
    return std::chrono::nanoseconds{group->mean_ns.load(std::memory_order_relaxed)};
  }
  [[nodiscard]] std::size_t tasks_at_once() const {
    return static_cast<std::size_t>(pool->most_at_once());
  }
  [[nodiscard]] std::size_t max_queued() const { return pool->options().max_queued; }
  [[nodiscard]] bool was_cut() const { return group->cut.any(); }

  template <class All>
  thread_submission* wait_any(const All& all, const deadline& until) const {
    if (wait_helper::of_this_thread() != nullptr) {
      // A worker runs what it waits for meanwhile, for which it needs a future to wait for.
      const auto waiting = all();
      const auto any = std::make_shared<any_submission>(waiting);
      for (const auto& one : waiting) {
        one->observe([weak = std::weak_ptr{any}](future_state&) {
          if (const auto still = weak.lock()) {
            still->happened();
          }
        });
      }
      any->wait(until);
    }
    return session->wait_any(until);
  }
  /// An item with a value has stopped running. A failed one may run still: it may have been given
  /// up.
  [[nodiscard]] bool is_over(bool read_to_end) const {
    return read_to_end && !group->cut.any() && group->failed_items.load() == 0 &&
           group->cancelled_items.load() == 0;
  }
  void give_up(const submissions& all) const {
    group->cut.all();
    cancel_rest(all);
    pool->outcomes().stop_what_is_cut(*group);
  }
  void cancel_rest(const submissions& all) const {
    // From the end: so no item begins while those before it are cancelled.
    for (auto one = all.rbegin(); one != all.rend(); ++one) {
      pool->outcomes().cancel_rest(
          **one,
          "cancelled before it began: another item of its map failed, or the map "
          "was given up");
    }
  }

  std::shared_ptr<thread_core> pool;
  options_ptr task;
  std::size_t chunk = 0;
  std::shared_ptr<session_group> session{};
  std::shared_ptr<thread_group> group{};  ///< the session's, or that of a future of all
};

using flow = map_flow<thread_flow>;

}  // namespace

const std::vector<std::shared_ptr<thread_submission>>& jobs_of(const future_state& all) {
  return static_cast<const thread_map_future&>(all).submissions();
}

struct thread_map::state : flow {
  state(thread_flow with, const flow::rules& by, const map_options& as_given)
      : flow{std::move(with), by}, how{as_given} {}
  const map_options how;
  place handed_out;
};

thread_map::thread_map(engine_ptr pool, const map_settings& how) {
  check_not_moved_from(pool);
  const auto group = std::make_shared<session_group>(how.ordered);
  group->all_or_nothing = how.all_or_nothing;
  group->stops_what_it_cuts = true;
  state_ =
      std::make_unique<state>(thread_flow{std::static_pointer_cast<thread_core>(std::move(pool)),
                                          how.task, how.map.chunk, group, group},
                              flow::rules{{how.map.chunk, how.map.window, how.streamed},
                                          how.ordered,
                                          how.all_or_nothing,
                                          how.run_unread,
                                          how.until},
                              how.map);
}

thread_map::~thread_map() {
  abandon();
}

void thread_map::prefetch(thread_input& input) {
  state_->prefetch(input);
}

void thread_map::pull_rest(thread_input& input, const deadline& until, bool patient) noexcept {
  state_->pull_rest(input, until, patient);
}

void thread_map::throw_if_refused() const {
  state_->throw_if_refused();
}

void thread_map::abandon() noexcept {
  if (state_ && !state_->kind.pool->is_of_this_process()) {
    // In a forked child: what runs is in the other process, and cannot be waited for.
    keep_for_ever(std::move(state_));
  }
  if (state_ && state_->abandon()) {
    state_->kind.pool->wait_until_nothing_runs(*state_->kind.group);
  }
}

void thread_map::finish(thread_input& input) noexcept {
  if (state_ && state_->kind.pool->is_of_this_process()) {
    state_->pull_unread(input);
  }
  abandon();
}

const thread_map::place* thread_map::next(thread_input& input) {
  state& s = *state_;
  check_not_inherited(s.kind.pool);
  if (!s.next(input)) {
    return nullptr;
  }
  s.handed_out = {&s.current(), s.position()};
  return &s.handed_out;
}

std::shared_ptr<future_state> thread_map::run_async(thread_input& input) {
  state& s = *state_;
  refuse_timeout(s.how);
  const auto all = std::make_shared<thread_map_future>(s.kind.pool);
  all->group()->whole = all;
  s.kind.group = all->group();
  std::exception_ptr problem;
  try {
    s.pull_all(input, [&](thread_flow::batch&& pulled) {
      all->add(pulled.built);
      try {
        submit(s.kind.pool, std::move(pulled.built), true);
      } catch (...) {
        all->drop_last();
        throw;
      }
    });
  } catch (...) {
    problem = std::current_exception();
    all->cancel_all();
    // The caller gets no future by which it could wait for what has begun.
    s.kind.pool->wait_until_nothing_runs(*all->group());
  }
  all->seal();
  if (problem) {
    std::rethrow_exception(problem);
  }
  return all;
}

}  // namespace troupe::detail
