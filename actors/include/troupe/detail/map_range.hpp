// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/codec.hpp"
#include "troupe/detail/pool_core.hpp"
#include "troupe/detail/pull_iterator.hpp"
#include "troupe/future.hpp"

#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

// How the items of a map on processes are encoded, and its results given out.
namespace troupe::detail {

template <class F, class Range>
using map_result_t = task_result_t<F, std::ranges::range_value_t<Range>>;

/// Calls `use` with the elements of a tuple-like item as separate arguments.
template <class F, class Item, class Indices = std::make_index_sequence<std::tuple_size_v<Item>>>
struct starred;
template <class F, class Item, std::size_t... I>
struct starred<F, Item, std::index_sequence<I...>> {
  using result = task_result_t<F, std::tuple_element_t<I, Item>...>;
  static constexpr bool ok = check_task<F, std::tuple_element_t<I, Item>...>();
  static void callable(byte_sink& sink, const F& function) {
    encode_task_callable<F, std::tuple_element_t<I, Item>...>(sink, function);
  }
  static void arguments(byte_sink& sink, const Item& item) {
    using std::get;
    encode_task_arguments<F, std::tuple_element_t<I, Item>...>(sink, get<I>(item)...);
  }
};

template <class F, class Item>
struct plain {
  using result = task_result_t<F, Item>;
  static constexpr bool ok = check_task<F, Item>();
  static void callable(byte_sink& sink, const F& function) {
    encode_task_callable<F, Item>(sink, function);
  }
  static void arguments(byte_sink& sink, const Item& item) {
    encode_task_arguments<F, Item>(sink, item);
  }
};

template <class Shape, class F>
job_builder encode_callable_for(const pool_ptr& pool, const F& function) {
  job_builder job{pool};
  if constexpr (Shape::ok) {  // its static_asserts have spoken already: no second page of errors
    job.callable([&](byte_sink& sink) { Shape::callable(sink, function); });
  }
  return job;
}

/// Walks the input of a map once; iterators may be move-only.
template <class Shape, class View>
class input_walk {
 public:
  explicit input_walk(View& view) : it_{std::ranges::begin(view)}, end_{std::ranges::end(view)} {}

  bool operator()(job_builder& job) {
    // Advanced only when the next one is wanted: an input iterator must not block for an item
    // early.
    if (!std::exchange(first_, false)) {
      ++it_;
    }
    if (it_ == end_) {
      return false;
    }
    decltype(auto) item = *it_;
    job.item([&](byte_sink& sink) { Shape::arguments(sink, item); });
    return true;
  }

 private:
  std::ranges::iterator_t<View> it_;
  std::ranges::sentinel_t<View> end_;
  bool first_ = true;
};

template <class R>
R take_item(const map_session::item& item) {
  if (item.failed != nullptr) {
    rethrow(*item.failed);
  }
  const cargo_unloading scope{*item.cargo};
  return decode_result<R>(item.value);
}

/// What imap returns: results as they are asked for, from an input pulled through a bounded window.
template <class View, class Shape>
class map_range {
 public:
  using result = typename Shape::result;
  static_assert(!std::is_void_v<result>,
                "troupe: imap of a function that returns void yields nothing to iterate: use map");

  map_range(const pool_ptr& pool, job_builder callable, View view, map_session::settings how)
      : state_{std::make_unique<shared_state>(pool, std::move(callable), std::move(view), how)} {}

  /// Decodes each result, or throws the item's exception.
  using iterator = pull_iterator<map_range, result>;

  /// Once only: the results are not kept.
  iterator begin() {
    advance();
    return iterator{this};
  }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  /// Begins now and not with `begin`.
  void prefetch() { state_->session.prefetch(started()); }

 private:
  struct shared_state {
    shared_state(const pool_ptr& pool, job_builder callable, View v, map_session::settings how)
        : view{std::move(v)}, session{pool, std::move(callable), how} {}
    View view;
    map_session session;
    std::optional<input_walk<Shape, View>> input;
    const map_session::item* current = nullptr;
  };

  input_walk<Shape, View>& started() {
    if (!state_->input) {
      state_->input.emplace(state_->view);
    }
    return *state_->input;
  }
  friend iterator;
  void advance() { state_->current = state_->session.next(started()); }
  result take() const { return take_item<result>(*state_->current); }
  [[nodiscard]] bool at_end() const { return state_->current == nullptr; }

  std::unique_ptr<shared_state> state_;
};

}  // namespace troupe::detail
