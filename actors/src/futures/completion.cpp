// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/completion.hpp"

#include "troupe/wait.hpp"

#include "base/thread_safety.hpp"

#include <atomic>
#include <deque>
#include <string>
#include <unordered_map>
#include <utility>

namespace troupe::detail {

class completions::hub final : public completion_listener {
 public:
  void completed(future_state& state) noexcept override {
    {
      const mutex_guard lock{mutex_};
      ended_.push_back(&state);
    }
    moved_.fetch_add(1);
    futex_wake_all(moved_);
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
      in_time = futex_wait(moved_, moved, until);
    }
  }

  struct entry {
    std::shared_ptr<future_state> state;
    std::size_t position;
  };
  std::unordered_map<const future_state*, entry> waiting;  // not told yet
  std::vector<std::size_t> distinct;

 private:
  guarded_mutex mutex_;
  std::deque<future_state*> ended_ TROUPE_GUARDED_BY(mutex_);
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
