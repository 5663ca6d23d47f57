// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/codec.hpp"
#include "troupe/detail/encoded_future.hpp"
#include "troupe/detail/map_calls.hpp"
#include "troupe/detail/pool_core.hpp"
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

/// Calls `use` with the elements of a tuple-like item as separate arguments.
template <class F, class Item, class Indices = std::make_index_sequence<std::tuple_size_v<Item>>>
struct starred;
template <class F, class Item, std::size_t... I>
struct starred<F, Item, std::index_sequence<I...>> {
  using result = task_result_t<F, std::tuple_element_t<I, Item>...>;
  static constexpr bool ok = std::is_void_v<task_refusal<F, std::tuple_element_t<I, Item>...>>;
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
  static constexpr bool ok = std::is_void_v<task_refusal<F, Item>>;
  static void callable(byte_sink& sink, const F& function) {
    encode_task_callable<F, Item>(sink, function);
  }
  static void arguments(byte_sink& sink, const Item& item) {
    encode_task_arguments<F, Item>(sink, item);
  }
};

template <class Shape, class F>
submission_builder encode_callable_for(const engine_ptr& pool, const F& function) {
  submission_builder submission{pool};
  if constexpr (Shape::ok) {  // its static_asserts have spoken already: no second page of errors
    submission.callable([&](byte_sink& sink) { Shape::callable(sink, function); });
  }
  return submission;
}

/// Walks the input of a map once; iterators may be move-only.
template <class Shape, class View>
class input_walk {
 public:
  explicit input_walk(View& view) : view_{view} {}

  bool operator()(submission_builder& submission) {
    // Begun and advanced only when the next one is wanted: an input iterator must not block for an
    // item early.
    if (!at_) {
      at_.emplace(place{std::ranges::begin(view_), std::ranges::end(view_)});
    } else {
      ++at_->it;
    }
    if (at_->it == at_->end) {
      return false;
    }
    decltype(auto) item = *at_->it;
    submission.item([&](byte_sink& sink) { Shape::arguments(sink, item); });
    return true;
  }

 private:
  struct place {
    std::ranges::iterator_t<View> it;
    std::ranges::sentinel_t<View> end;
  };
  View& view_;
  std::optional<place> at_;
};

template <class R>
R take_item(const map_session::item& item) {
  if (item.failed != nullptr) {
    rethrow(*item.failed);
  }
  if constexpr (!std::is_void_v<R>) {
    const attachment_source scope{*item.attachments};
    return decode_result<R>(item.value);
  }
}

/// A map on processes with its input.
template <class Shape, class F, class View>
class encoded_map_run {
  using result = typename Shape::result;

 public:
  using place = map_session::item;
  encoded_map_run(const engine_ptr& pool, const F& function, View& view, const map_settings& how)
      : input_{view}, session_{pool, encode_callable_for<Shape>(pool, function), how} {}

  const place* next() { return session_.next(input_); }
  /// Decodes the result, or throws the item's exception.
  static result take(const place& from) { return take_item<result>(from); }
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
      return encoded_future<void>(std::move(state));
    } else {
      return encoded_futures<std::vector<result>>(std::move(state));
    }
  }

 private:
  input_walk<Shape, View> input_;
  map_session session_;
};

/// Maps on processes, for map_calls.
struct process_maps {
  template <class F, class Item>
  using plain = detail::plain<F, Item>;
  template <class F, class Item>
  using starred = detail::starred<F, Item>;
  template <class Shape, class F, class View>
  using run = encoded_map_run<Shape, F, View>;
};

}  // namespace troupe::detail
