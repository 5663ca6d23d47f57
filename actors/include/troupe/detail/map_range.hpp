// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/codec.hpp"
#include "troupe/detail/open_map.hpp"
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
  const attachment_source scope{*item.attachments};
  return decode_result<R>(item.value);
}

/// What a range of results and its iterators share: results as they are asked for, from an input
/// pulled through a bounded window or all at once.
template <class View, class Shape>
class map_results final : public open_map {
 public:
  using result = typename Shape::result;
  static_assert(!std::is_void_v<result>,
                "troupe: imap of a function that returns void yields nothing to iterate: use map");

  map_results(const engine_ptr& pool, submission_builder callable, View view,
              map_session::settings how)
      : view_{std::move(view)}, input_{view_}, session_{pool, std::move(callable), how} {}

  void advance() {
    cursor_.advance([this] { return session_.next(input_); });
  }
  /// Decodes the result, or throws the item's exception.
  [[nodiscard]] result take() const { return take_item<result>(cursor_.here()); }
  [[nodiscard]] bool at_end() const noexcept { return cursor_.at_end(); }

  map_session& session() noexcept { return session_; }
  void prefetch() { session_.prefetch(input_); }
  void pull_rest(const deadline& until, bool patient) noexcept override {
    session_.pull_rest(input_, until, patient);
  }
  /// The range goes.
  void finish() noexcept {
    session_.finish(input_);
    cursor_.end();
  }

 private:
  View view_;
  input_walk<Shape, View> input_;
  map_session session_;
  result_cursor<map_session::item> cursor_;
};

/// What imap returns.
template <class View, class Shape>
using map_range = lazy_range<map_results<View, Shape>, typename Shape::result>;

}  // namespace troupe::detail
