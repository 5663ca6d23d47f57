// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/detail/engine.hpp"
#include "troupe/detail/open_map.hpp"
#include "troupe/detail/pull_iterator.hpp"
#include "troupe/detail/refusal.hpp"
#include "troupe/future.hpp"

#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

// The maps of every kind of pool, which differ in how an item gets to a worker and back: `Kind`.
//
//   Kind::plain<F, Item>, Kind::starred<F, Item>   the shape of a call: its checks and its `result`
//   Kind::run<Shape, F, View>                      a map on its way: the input and its session
namespace troupe::detail {

struct executor_access;

/// What a range of results and its iterators share: results as they are asked for, from an input
/// pulled through a bounded window or all at once.
template <class Kind, class Shape, class F, class View>
class map_results final : public open_map {
  using run = typename Kind::template run<Shape, F, View>;

 public:
  using result = typename Shape::result;
  static_assert(!std::is_void_v<result>,
                "troupe: imap of a function that returns void yields nothing to iterate: use map");

  map_results(const engine_ptr& pool, F function, View view, const map_settings& how)
      : view_{std::move(view)}, run_{pool, std::move(function), view_, how} {}

  void advance() {
    cursor_.advance([this] { return run_.next(); });
  }
  /// The result, once for each position. Or throws the item's exception.
  result take() { return run::take(cursor_.here()); }
  [[nodiscard]] bool at_end() const noexcept { return cursor_.at_end(); }

  void prefetch() { run_.prefetch(); }
  void pull_rest(const deadline& until, bool patient) noexcept override {
    run_.pull_rest(until, patient);
  }
  void throw_if_refused() const { run_.throw_if_refused(); }
  /// The range goes.
  void finish() noexcept {
    run_.finish();
    cursor_.end();
  }

 private:
  View view_;
  run run_;
  result_cursor<typename run::place> cursor_;
};

/// What imap returns.
template <class Kind, class Shape, class F, class View>
using map_range = lazy_range<map_results<Kind, Shape, F, View>,
                             typename map_results<Kind, Shape, F, View>::result>;

template <class Item>
struct item_must_be_pair_or_tuple {
  static_assert(std::is_void_v<Item>,
                "troupe: starmap takes items apart, so they must be pairs, tuples or std::arrays: "
                "of a std::vector the compiler does not know the number of elements");
};
template <class Item>
concept has_elements = requires { std::tuple_size<Item>::value; };
template <class Item>
using item_refusal = std::conditional_t<has_elements<Item>, void, item_must_be_pair_or_tuple<Item>>;

/// The maps of a pool and of what its `with` returns.
template <class Self, class Kind>
class map_calls {
 public:
  /// Applies `function` to every item on the workers.
  ///
  /// In processes: function, items and results are encoded.
  /// On threads: `function` is shared by all workers, called as const, or each time as a fresh copy
  /// if it cannot be; items and results are moved.
  ///
  /// @follows Python's Pool.map, except that the input is pulled lazily through a bounded window
  ///   and that a failure cancels what comes after it and has not begun.
  /// @returns n items give n results in input order; a void function gives void.
  /// @blocks until every result is in. On threads, before it throws, until nothing of the map runs
  ///   any more, so `function` may refer to the caller's frame: what runs is asked to stop
  ///   (this_task::stop_token), by a failure all that comes behind it in the input, and an item
  ///   that does not listen is waited for.
  /// @worker_dies only the item it was running fails (or is retried); the others of its chunk do
  ///   not.
  /// @throws the failure of the first failed item in input order; what the range throws, as it is;
  ///   timeout_error once `.timeout` has passed: what has not begun is cancelled then, and what
  ///   runs in processes goes on.
  template <class F, std::ranges::input_range Range>
  auto map(F function, Range&& range, map_options how = {}) {
    return run_map<plain<F, std::ranges::range_value_t<Range>>>(std::move(function), range, how,
                                                                end_of(how));
  }

  /// As map, of the items in braces: `map(square, {1, 2, 3})`.
  template <class F, class Item>
  auto map(F function, std::initializer_list<Item> items, map_options how = {}) {
    return map(std::move(function), std::vector<Item>(items), how);
  }

  /// As map, with each item's elements as separate arguments: `starmap(add, {{1, 2}, {3, 4}})`.
  template <class F, std::ranges::input_range Range>
  auto starmap(F function, Range&& range, map_options how = {}) {
    using item = std::ranges::range_value_t<Range>;
    static_assert(is_reported<item_refusal<item>>);
    if constexpr (has_elements<item>) {
      return run_map<starred<F, item>>(std::move(function), range, how, end_of(how));
    } else {
      return std::vector<refused_result>{};
    }
  }

  /// As map, without waiting for results: the whole input is pulled now, in the calling thread, and
  /// for processes encoded.
  ///
  /// On threads nothing waits for the items but the future: what `function` refers to must outlive
  /// them. They may run on after the future was dropped, and after it has ended by `.timeout` or
  /// `cancel(force)`; pass what they need by value or by std::shared_ptr. A failure stops nothing
  /// that runs.
  ///
  /// @follows Python's Pool.map_async.
  /// @returns one future for all results: a vector, or nothing for a void function.
  /// @blocks only if `max_queued` tasks are waiting; on threads, before it throws, until nothing of
  ///   it runs any more.
  /// @worker_dies as map.
  /// @throws as apply_async; what the range throws; std::invalid_argument for a `.timeout`: wait
  ///   for the future with a limit instead.
  template <class F, std::ranges::input_range Range>
  auto map_async(F function, Range&& range, map_options how = {}) {
    return run_map_async<plain<F, std::ranges::range_value_t<Range>>>(std::move(function), range,
                                                                      how);
  }
  /// As map_async, of the items in braces.
  template <class F, class Item>
  auto map_async(F function, std::initializer_list<Item> items, map_options how = {}) {
    return map_async(std::move(function), std::vector<Item>(items), how);
  }
  /// As map_async, with each item's elements as separate arguments.
  template <class F, std::ranges::input_range Range>
  auto starmap_async(F function, Range&& range, map_options how = {}) {
    using item = std::ranges::range_value_t<Range>;
    static_assert(is_reported<item_refusal<item>>);
    if constexpr (has_elements<item>) {
      return run_map_async<starred<F, item>>(std::move(function), range, how);
    } else {
      return future<std::vector<refused_result>>{};
    }
  }

  /// A range of results in input order, computed ahead of the iteration within a bounded window:
  /// begin() starts it, and what is not read is not computed.
  ///
  /// The range is single pass: each begin() goes on where the last ended. An lvalue input must
  /// outlive it, as with views. An item's exception is thrown by `*` at its position, and ++ goes
  /// on. What pulling or submitting throws comes from begin() or ++ behind the results of all items
  /// before it; `*` then throws the same again, and ++ goes on, here to the end. Iterators that
  /// outlive the range are at the end. On threads `*` moves the result out.
  ///
  /// If it is destroyed early, what has not begun is cancelled. On threads what runs is asked to
  /// stop and waited for, so `function` may refer to the frame that the range is in; in a task of
  /// this pool other tasks run meanwhile, and items on the destroying thread's own stack are not
  /// waited for.
  ///
  /// @follows Python's Pool.imap with buffersize.
  /// @blocks on begin and ++ until the next result is in; on threads the destructor until nothing
  ///   of it runs any more.
  /// @threads one at a time for the range.
  /// @worker_dies only the item it was running fails, or is retried.
  /// @throws as apply_async, on begin and on ++, too; what the input throws; timeout_error instead
  ///   of each result that is not there once `.timeout` has passed; error{no_state} from `*` at the
  ///   end.
  template <class F, std::ranges::viewable_range Range>
  auto imap(F function, Range&& range, map_options how = {}) {
    return run_imap(std::move(function), std::forward<Range>(range), how, true);
  }
  /// As imap, in the order in which results come.
  template <class F, std::ranges::viewable_range Range>
  auto imap_unordered(F function, Range&& range, map_options how = {}) {
    return run_imap(std::move(function), std::forward<Range>(range), how, false);
  }

 protected:
  friend struct executor_access;
  using kind = Kind;
  template <class F, class Item>
  using plain = typename Kind::template plain<F, Item>;
  template <class F, class Item>
  using starred = typename Kind::template starred<F, Item>;

  const engine_ptr& core() const { return static_cast<const Self*>(this)->core_; }
  const options_ptr& options() const { return static_cast<const Self*>(this)->current_options(); }

  template <class Shape, class F, class View>
  auto run_map(F function, View& range, const map_options& how, const deadline& until) {
    using result = typename Shape::result;
    typename Kind::template run<Shape, F, View> run{
        core(),
        std::move(function),
        range,
        {.map = how, .task = options(), .ordered = true, .all_or_nothing = true, .until = until}};
    if constexpr (std::is_void_v<result>) {
      while (const auto* place = run.next()) {
        run.take(*place);
      }
    } else {
      std::vector<result> results;
      if constexpr (std::ranges::sized_range<View>) {
        results.reserve(static_cast<std::size_t>(std::ranges::size(range)));
      }
      while (const auto* place = run.next()) {
        results.push_back(run.take(*place));
      }
      return results;
    }
  }

  template <class Shape, class F, class View>
  auto run_map_async(F function, View& range, const map_options& how) {
    typename Kind::template run<Shape, F, View> run{
        core(), std::move(function), range, {.map = how, .task = options()}};
    return run.all();
  }

  template <class F, class Range>
  auto run_imap(F function, Range&& range, const map_options& how, bool ordered) {
    using view = std::views::all_t<Range>;
    using shape = plain<F, std::ranges::range_value_t<view>>;
    return map_range<Kind, shape, F, view>{std::make_shared<map_results<Kind, shape, F, view>>(
        core(), std::move(function), std::views::all(std::forward<Range>(range)),
        map_settings{.map = how,
                     .task = options(),
                     .ordered = ordered,
                     .all_or_nothing = false,
                     .streamed = true,
                     .until = end_of(how)})};
  }
};

}  // namespace troupe::detail
