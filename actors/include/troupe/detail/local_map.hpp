// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/map_calls.hpp"
#include "troupe/detail/thread_map.hpp"
#include "troupe/detail/thread_task.hpp"
#include "troupe/future.hpp"

#include <cstddef>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

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
        view_{view} {}

  std::shared_ptr<thread_submission> open(const engine_ptr& pool, const options_ptr& how,
                                          std::size_t most) override {
    return std::make_shared<block>(pool, how, function_, most);
  }
  bool pull(thread_submission& into) override {
    // Begun and advanced only when the next one is wanted: an input iterator must not block for an
    // item early.
    if (!at_) {
      at_.emplace(position{std::ranges::begin(view_), std::ranges::end(view_)});
    } else {
      ++at_->it;
    }
    if (at_->it == at_->end) {
      return false;
    }
    static_cast<block&>(into).add(*at_->it);
    return true;
  }
  std::size_t seal(thread_submission& filled) override {
    return static_cast<block&>(filled).seal();
  }

  static typename Shape::result take(const thread_map::place& from) {
    if (const std::exception_ptr thrown = from.submission->item_exception(from.item)) {
      std::rethrow_exception(thrown);
    }
    return static_cast<block&>(*from.submission).take(from.item);
  }
  template <class Vector>
  static Vector take_all(const future_state& all) {
    Vector values;
    for (const auto& submission : jobs_of(all)) {
      for (std::uint32_t i = 0; i < submission->count(); ++i) {
        values.push_back(static_cast<const block&>(*submission).get(i));
      }
    }
    return values;
  }

 private:
  struct position {
    std::ranges::iterator_t<View> it;
    std::ranges::sentinel_t<View> end;
  };
  std::shared_ptr<const shared_function<F>> function_;
  View& view_;
  std::optional<position> at_;
};

inline void take_nothing(const future_state&) {}

/// A map on threads with its input.
template <class Shape, class F, class View>
class local_map_run {
  using input = local_input<Shape, F, View>;
  using result = typename Shape::result;

 public:
  using place = thread_map::place;
  local_map_run(const engine_ptr& pool, F function, View& view, const map_settings& how)
      : input_{view, std::move(function)}, session_{pool, how} {}

  const place* next() { return session_.next(input_); }
  /// The result itself, moved out, or throws the item's exception.
  static result take(const place& from) { return input::take(from); }
  void prefetch() { session_.prefetch(input_); }
  void pull_rest(const deadline& until, bool patient) noexcept {
    session_.pull_rest(input_, until, patient);
  }
  void throw_if_refused() const { session_.throw_if_refused(); }
  void finish() noexcept { session_.finish(input_); }
  /// One future of all results.
  auto all() {
    auto state = session_.run_async(input_);
    if constexpr (std::is_void_v<result>) {
      return future_access::local<void>(std::move(state), &take_nothing);
    } else {
      using results = std::vector<result>;
      return future_access::local<results>(std::move(state), &input::template take_all<results>);
    }
  }

 private:
  input input_;
  thread_map session_;
};

/// In the place of a map that was refused.
template <class Shape>
class refused_map_run {
  using result = typename Shape::result;

 public:
  using place = thread_map::place;
  template <class F, class View>
  refused_map_run(const engine_ptr& /*pool*/, const F& /*function*/, View& /*view*/,
                  const map_settings& /*how*/) {}

  const place* next() { return nullptr; }
  static result take(const place& from);
  void prefetch() {}
  void pull_rest(const deadline& /*until*/, bool /*patient*/) noexcept {}
  void throw_if_refused() const {}
  void finish() noexcept {}
  auto all() {
    if constexpr (std::is_void_v<result>) {
      return future<void>{};
    } else {
      return future<std::vector<result>>{};
    }
  }
};

/// Maps on threads, for map_calls.
struct thread_maps {
  template <class F, class Item>
  using plain = local_plain<F, Item>;
  template <class F, class Item>
  using starred = local_starred<F, Item>;
  template <class Shape, class F, class View>
  using run = std::conditional_t<Shape::ok, local_map_run<Shape, F, View>, refused_map_run<Shape>>;
};

/// The task that a call becomes.
template <class F, class... Args>
struct local_call : local_invocation<F, F, Args...> {
  using task = thread_call<typename local_call::result, F, Args...>;
};

}  // namespace troupe::detail
