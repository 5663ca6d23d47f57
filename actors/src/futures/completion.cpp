// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/completion.hpp"

#include "troupe/wait.hpp"

#include "base/thread_safety.hpp"
#include "futures/callback_runner.hpp"
#include "futures/waiting.hpp"

#include <algorithm>
#include <atomic>
#include <deque>
#include <functional>
#include <list>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

namespace troupe::detail {

class completions::hub final : public completion_listener {
 public:
  void completed(future_state& state) noexcept override {
    std::shared_ptr<next_end> told;
    {
      const mutex_guard lock{mutex_};
      ended_.push_back(&state);
      told = std::move(next_);
    }
    moved_.fetch_add(1);
    futex_wake_all(moved_);
    if (told) {
      told->happened();
    }
  }
  void got_sources(future_state& state) noexcept override {
    const mutex_guard lock{mutex_};
    if (tells_changes_) {
      changed_.push_back(state.weak_from_this());
    }
  }

  /// Null: the deadline passed.
  future_state* take(const deadline& until) {
    for (bool in_time = true;;) {
      const std::uint32_t moved = moved_.load();
      {
        const mutex_guard lock{mutex_};
        if (!ended_.empty()) {
          future_state* const first = ended_.front();
          ended_.pop_front();
          return first;
        }
      }
      if (!in_time) {
        return nullptr;
      }
      in_time = sleep(moved, until);
    }
  }

  struct entry {
    std::shared_ptr<future_state> state;
    std::size_t position;
  };
  std::unordered_map<const future_state*, entry> waiting;  // not told yet
  std::vector<std::size_t> distinct;

 private:
  /// Ends when the next of the states ends: what a worker of a thread pool waits for, which runs
  /// those states' tasks meanwhile. Only the thread that waits looks at its sources.
  class next_end final : public future_state {
   public:
    explicit next_end(hub& of) : of_{of} {}
    void each_value(const std::function<void(std::span<const std::byte>)>&) const override {}
    bool cancel(bool) override { return false; }
    [[nodiscard]] bool running() const override { return true; }
    bool any_source(const source_visitor& visit) const override {
      for (auto one = of_.open_.begin(); one != of_.open_.end();) {
        const auto found = of_.waiting.find(*one);
        if (found == of_.waiting.end()) {
          one = of_.open_.erase(one);
          // One that has ended, and of which this was not told yet, may end the wait.
        } else if (visit(found->second.state)) {
          return true;
        } else {
          ++one;
        }
      }
      return false;
    }
    [[nodiscard]] bool ends_with_first_source() const noexcept override { return true; }
    [[nodiscard]] awaited_looks* looks() const override { return of_.looks(); }
    void happened() { finish(nullptr); }

   protected:
    [[nodiscard]] executor callbacks() const override { return {}; }

   private:
    hub& of_;
  };

  bool sleep(std::uint32_t seen, const deadline& until) {
    wait_helper* const helper = wait_helper::of_this_thread();
    if (helper == nullptr) {
      if (callback_runner::is_here() && !std::exchange(needed_, true)) {
        for (const auto& [state, one] : waiting) {
          need_all_of(*state);
        }
      }
      return futex_wait(moved_, seen, until);
    }
    list_open();
    prepare_looks(*helper);
    const auto next = std::make_shared<next_end>(*this);
    {
      const mutex_guard lock{mutex_};
      if (!ended_.empty()) {
        return true;
      }
      next_ = next;
    }
    const bool in_time = helper->wait_for(*next, until);
    const mutex_guard lock{mutex_};
    next_ = nullptr;
    return in_time;
  }

  void list_open() {
    if (listed_) {
      return;
    }
    listed_ = true;
    std::vector<std::pair<std::size_t, const future_state*>> in_order;
    for (const auto& [state, one] : waiting) {
      in_order.emplace_back(one.position, state);
    }
    std::sort(in_order.begin(), in_order.end());
    for (const auto& each : in_order) {
      open_.push_back(each.second);
    }
  }

  /// All of them, if another worker waits than before.
  void prepare_looks(const wait_helper& of) {
    if (looks_ && looks_of_ == of.number()) {
      return;
    }
    {
      const mutex_guard lock{mutex_};
      tells_changes_ = true;
    }
    std::deque<awaited_looks::future> all;
    for (const future_state* const each : open_) {
      if (const auto found = waiting.find(each); found != waiting.end()) {
        all.emplace_back(found->second.state);
      }
    }
    looks_.emplace(std::move(all));
    looks_of_ = of.number();
  }

  awaited_looks* looks() {
    std::vector<awaited_looks::future> changed;
    {
      const mutex_guard lock{mutex_};
      changed.swap(changed_);
    }
    for (auto& each : changed) {
      looks_->add(std::move(each));
    }
    return &*looks_;
  }

  bool needed_ = false;  // a callback has waited
  std::optional<awaited_looks> looks_;
  std::uint64_t looks_of_ = 0;
  // What a worker that waits may run, in input order; some may have been told already, and is not
  // kept alive. Listed when a worker waits first.
  std::list<const future_state*> open_;
  bool listed_ = false;
  guarded_mutex mutex_;
  std::deque<future_state*> ended_ TROUPE_GUARDED_BY(mutex_);
  std::shared_ptr<next_end> next_ TROUPE_GUARDED_BY(mutex_);
  bool tells_changes_ TROUPE_GUARDED_BY(mutex_) = false;
  std::vector<awaited_looks::future> changed_ TROUPE_GUARDED_BY(mutex_);
  std::atomic<std::uint32_t> moved_{0};
};

completions::completions(std::vector<std::shared_ptr<future_state>> of)
    : hub_{std::make_shared<hub>()} {
  for (const auto& state : of) {
    if (!state) {
      throw_no_state();
    }
  }
  hub_->waiting.reserve(of.size());
  for (std::size_t i = 0; i < of.size(); ++i) {
    if (hub_->waiting.try_emplace(of[i].get(), hub::entry{of[i], i}).second) {
      hub_->distinct.push_back(i);
    }
  }
  // In input order, so that what has ended already comes in that order.
  for (const std::size_t i : hub_->distinct) {
    if (!of[i]->listen(hub_)) {
      hub_->completed(*of[i]);
    }
  }
}

completions::~completions() {
  if (hub_) {
    for (auto& [key, one] : hub_->waiting) {
      one.state->unlisten(hub_.get());
    }
  }
}

completions::completions(completions&&) noexcept = default;

std::optional<std::size_t> completions::next(const deadline& until) {
  if (hub_->waiting.empty()) {
    return std::nullopt;
  }
  const future_state* const ended = hub_->take(until);
  if (ended == nullptr) {
    return std::nullopt;
  }
  const auto found = hub_->waiting.find(ended);
  const std::size_t position = found->second.position;
  hub_->waiting.erase(found);
  return position;
}

std::size_t completions::left() const noexcept {
  return hub_->waiting.size();
}

std::size_t completions::count() const noexcept {
  return hub_->distinct.size();
}

const std::vector<std::size_t>& completions::distinct() const noexcept {
  return hub_->distinct;
}

void throw_unfinished(std::size_t unfinished, std::size_t of) {
  throw timeout_error{"troupe: " + std::to_string(unfinished) + " (of " + std::to_string(of) +
                      ") futures unfinished"};
}

}  // namespace troupe::detail
