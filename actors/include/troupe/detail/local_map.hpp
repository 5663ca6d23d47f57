// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/pull_iterator.hpp"
#include "troupe/detail/thread_task.hpp"

#include <cstddef>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>

// How the items of a map on threads are kept, and its results given out.
namespace troupe::detail {

/// Walks the input of a map once; iterators may be move-only.
template <class Shape, class F, class View>
class local_input final : public thread_input {
 public:
  using item = std::ranges::range_value_t<View>;
  using block = thread_block<Shape, F, item>;

  local_input(View& view, F function)
      : function_{std::make_shared<const shared_function<F>>(
            shared_function<F>{std::move(function)})},
        it_{std::ranges::begin(view)},
        end_{std::ranges::end(view)} {}

  std::shared_ptr<thread_job> open(const thread_core_ptr& pool, const options_ptr& how,
                                   std::size_t most) override {
    return std::make_shared<block>(pool, how, function_, most);
  }
  bool pull(thread_job& into) override {
    // Advanced only when the next one is wanted: an input iterator must not block for an item
    // early.
    if (!std::exchange(first_, false)) {
      ++it_;
    }
    if (it_ == end_) {
      return false;
    }
    static_cast<block&>(into).add(*it_);
    return true;
  }
  std::size_t seal(thread_job& filled) override { return static_cast<block&>(filled).seal(); }

  static typename Shape::result take(const thread_map::place& from) {
    if (const std::exception_ptr thrown = from.job->item_exception(from.item)) {
      std::rethrow_exception(thrown);
    }
    return static_cast<block&>(*from.job).take(from.item);
  }
  template <class Vector>
  static Vector take_all(const future_state& all) {
    Vector values;
    for (const auto& job : jobs_of(all)) {
      for (std::uint32_t i = 0; i < job->count(); ++i) {
        values.push_back(static_cast<const block&>(*job).get(i));
      }
    }
    return values;
  }

 private:
  std::shared_ptr<const shared_function<F>> function_;
  std::ranges::iterator_t<View> it_;
  std::ranges::sentinel_t<View> end_;
  bool first_ = true;
};

inline void take_nothing(const future_state&) {}

/// What imap returns: results as they are asked for, from an input pulled through a bounded window.
template <class View, class Shape, class F>
class local_map_range {
  using input = local_input<Shape, F, View>;

 public:
  using result = typename Shape::result;
  static_assert(!std::is_void_v<result>,
                "troupe: imap of a function that returns void yields nothing to iterate: use map");

  local_map_range(const thread_core_ptr& pool, F function, View view, thread_map::settings how)
      : state_{std::make_unique<shared_state>(pool, std::move(function), std::move(view), how)} {}

  /// Each result itself, moved out: once for each position. Or throws the item's exception.
  using iterator = pull_iterator<local_map_range, result>;

  /// Once only: the results are not kept.
  iterator begin() {
    advance();
    return iterator{this};
  }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  /// Begins now and not with `begin`.
  void prefetch() { state_->session.prefetch(state_->started()); }

 private:
  struct shared_state {
    shared_state(const thread_core_ptr& pool, F f, View v, const thread_map::settings& how)
        : view{std::move(v)}, function{std::move(f)}, session{pool, how} {}
    input& started() {
      if (!from) {
        from.emplace(view, std::move(function));
      }
      return *from;
    }
    View view;
    F function;
    std::optional<input> from;
    thread_map session;
    const thread_map::place* current = nullptr;
  };

  friend iterator;
  void advance() { state_->current = state_->session.next(state_->started()); }
  result take() { return input::take(*state_->current); }
  [[nodiscard]] bool at_end() const { return state_->current == nullptr; }

  std::unique_ptr<shared_state> state_;
};

/// The task that a call becomes.
template <class F, class... Args>
struct local_call {
  static_assert(std::is_invocable_v<F, Args...>,
                "troupe: this callable cannot be called with copies of these arguments (pass "
                "std::ref(x) for a reference to x)");
  using result = local_result_t<F, Args...>;
  using task = thread_call<result, F, Args...>;
};

}  // namespace troupe::detail
