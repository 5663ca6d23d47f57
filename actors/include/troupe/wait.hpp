// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/detail/completion.hpp"
#include "troupe/detail/pull_iterator.hpp"
#include "troupe/future.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace troupe {
namespace detail {

template <class T>
inline constexpr bool is_future = false;
template <class T>
inline constexpr bool is_future<future<T>> = true;

template <class Range>
concept range_of_futures = std::ranges::input_range<Range> &&
                           is_future<std::remove_cvref_t<std::ranges::range_reference_t<Range>>>;

template <class Range>
using future_of = std::remove_cvref_t<std::ranges::range_reference_t<Range>>;

template <class Future>
std::vector<std::shared_ptr<future_state>> states_of(const std::vector<Future>& futures) {
  std::vector<std::shared_ptr<future_state>> states;
  states.reserve(futures.size());
  for (const Future& one : futures) {
    states.push_back(future_access::state(one));
  }
  return states;
}

template <class Range>
std::vector<future_of<Range>> copy_futures(Range&& range) {
  std::vector<future_of<Range>> futures;
  if constexpr (std::ranges::sized_range<Range>) {
    futures.reserve(static_cast<std::size_t>(std::ranges::size(range)));
  }
  for (auto&& one : range) {
    futures.push_back(one);
  }
  return futures;
}

[[noreturn]] void throw_unfinished(std::size_t unfinished, std::size_t of);

}  // namespace detail

/// When `wait` has waited enough.
enum class return_when : std::uint8_t {
  all_completed,    ///< all have an outcome
  first_completed,  ///< one has an outcome
  first_exception,  ///< one has failed or was cancelled; all have an outcome, if none does
};

/// What `wait` returns: `auto [done, pending] = troupe::wait(futures, 5s);`
template <class T>
struct wait_result {
  std::vector<future<T>> done;     ///< with an outcome, in the order of the input
  std::vector<future<T>> pending;  ///< the others, in the order of the input
};

/// Waits for futures of any kind: of process pools, thread pools, executors, maps.
///
/// @follows Python's concurrent.futures.wait: a future that is there twice counts once; cancelled
///   ones are done, and wake waiters, however they were cancelled. Unlike there a cancelled one
///   ends `first_exception`, too, because its get() throws.
/// @returns the futures with an outcome, and the others.
/// @blocks until `when` holds or the time has passed; not at all if there is nothing to wait for.
/// @threads any; several may wait for the same futures.
/// @worker_dies its task's future is done then (worker_lost).
/// @throws error{no_state} for a default-constructed future.
template <detail::range_of_futures Range>
auto wait(Range&& range, detail::deadline until, return_when when = return_when::all_completed) {
  auto futures = detail::copy_futures(std::forward<Range>(range));
  detail::completions ends{detail::states_of(futures)};
  while (const auto ended = ends.next(until)) {
    if (when == return_when::first_completed ||
        (when == return_when::first_exception && !futures[*ended].successful())) {
      break;
    }
  }
  wait_result<typename detail::future_of<Range>::value_type> result;
  for (const std::size_t i : ends.distinct()) {
    (futures[i].ready() ? result.done : result.pending).push_back(std::move(futures[i]));
  }
  return result;
}

/// The same with a timeout; a negative one does not wait.
template <detail::range_of_futures Range, class Rep, class Period>
auto wait(Range&& range, std::chrono::duration<Rep, Period> timeout,
          return_when when = return_when::all_completed) {
  return wait(std::forward<Range>(range), detail::deadline_after(timeout), when);
}

/// The same without a limit of time.
template <detail::range_of_futures Range>
auto wait(Range&& range, return_when when = return_when::all_completed) {
  return wait(std::forward<Range>(range), detail::deadline{}, when);
}

namespace detail {

/// What a completed_range and its iterators share.
template <class T>
class completed_futures {
 public:
  completed_futures(std::vector<future<T>> futures, deadline until)
      : futures_{std::move(futures)}, ends_{states_of(futures_)}, until_{until} {}

  /// No state at the end, and after `advance` threw.
  [[nodiscard]] future<T> take() const { return current_; }
  [[nodiscard]] bool at_end() const { return !current_.valid(); }
  void advance() {
    current_ = {};
    if (ends_.left() == 0) {
      return;
    }
    const auto ended = ends_.next(until_);
    if (!ended) {
      throw_unfinished(ends_.left(), ends_.count());
    }
    current_ = std::exchange(futures_[*ended], {});
  }
  void finish() noexcept { current_ = {}; }

 private:
  std::vector<future<T>> futures_;
  completions ends_;
  deadline until_;
  future<T> current_;
};

}  // namespace detail

/// What `as_completed` returns: futures in the order in which they end, each once. It keeps no
/// reference to what it gave: when the caller drops it, its result is freed.
///
/// @blocks on begin and ++ until the next future has ended.
/// @threads one at a time.
/// @throws timeout_error on begin and ++, if the time is over first.
template <class T>
class completed_range : public detail::pulled_range<detail::completed_futures<T>, future<T>> {
 public:
  /// Made by `as_completed`.
  completed_range(std::vector<future<T>> futures, detail::deadline until)
      : detail::pulled_range<detail::completed_futures<T>, future<T>>{
            std::make_shared<detail::completed_futures<T>>(std::move(futures), until)} {}
};

/// The futures in the order in which they end: `for (auto f : troupe::as_completed(futures))`.
///
/// @follows Python's as_completed: what has ended already comes first, a future that is there twice
///   comes once, and each is let go of before the next.
/// @blocks on begin and on ++ until the next one ends.
/// @worker_dies its task's future comes, and throws worker_lost when asked.
/// @throws error{no_state} for a default-constructed future.
template <detail::range_of_futures Range>
auto as_completed(Range&& range) {
  return completed_range<typename detail::future_of<Range>::value_type>{
      detail::copy_futures(std::forward<Range>(range)), detail::deadline{}};
}

/// The same within a time, counted from this call.
///
/// @throws timeout_error from begin or ++, "2 (of 4) futures unfinished", after every future that
///   was in time.
template <detail::range_of_futures Range, class Rep, class Period>
auto as_completed(Range&& range, std::chrono::duration<Rep, Period> timeout) {
  return completed_range<typename detail::future_of<Range>::value_type>{
      detail::copy_futures(std::forward<Range>(range)), detail::deadline_after(timeout)};
}

namespace detail {

/// Completes `made` with what `gather` returns once all of `states` have ended.
template <class R, class Gather>
future<R> gather_when_done(std::vector<std::shared_ptr<future_state>> states, Gather gather) {
  auto made = std::make_shared<continuation_of<R>>(states);
  if (states.empty()) {
    made->run(gather);
    return future_access::made<R>(std::move(made));
  }
  auto duty = std::make_shared<completion_duty>(made);
  auto left = std::make_shared<std::atomic<std::size_t>>(states.size());
  auto shared = std::make_shared<Gather>(std::move(gather));
  for (const auto& state : states) {
    state->when_done([made, duty, left, shared](future_state&) {
      if (left->fetch_sub(1) == 1) {
        made->run(*shared);
      }
    });
  }
  return future_access::made<R>(std::move(made));
}

template <class T>
auto value_of(const future<T>& f) {
  if constexpr (std::is_void_v<T>) {
    future_access::take(f);
    return std::monostate{};
  } else {
    return future_access::take(f);
  }
}

}  // namespace detail

/// One future of all: their values in the order of the input; of `void` ones a future<void>.
///
/// It ends when all have ended, and then fails with the failure of the first that failed in the
/// order of the input. Cancelling it cancels all of them.
///
/// @blocks no.
/// @worker_dies its task's future fails, and so does this one, when all have ended.
/// @throws error{no_state} for a default-constructed future.
template <detail::range_of_futures Range>
auto when_all(Range&& range) {
  using value = typename detail::future_of<Range>::value_type;
  auto futures = detail::copy_futures(std::forward<Range>(range));
  auto states = detail::states_of(futures);
  if (std::any_of(states.begin(), states.end(), [](const auto& s) { return s == nullptr; })) {
    detail::throw_no_state();
  }
  if constexpr (std::is_void_v<value>) {
    return detail::gather_when_done<void>(std::move(states), [futures = std::move(futures)] {
      for (const auto& f : futures) {
        detail::future_access::take(f);
      }
    });
  } else {
    return detail::gather_when_done<std::vector<value>>(std::move(states),
                                                        [futures = std::move(futures)] {
                                                          std::vector<value> values;
                                                          values.reserve(futures.size());
                                                          for (const auto& f : futures) {
                                                            values.push_back(
                                                                detail::future_access::take(f));
                                                          }
                                                          return values;
                                                        });
  }
}

/// The same for futures of different types: a tuple of their values, std::monostate for void.
///
/// @throws error{no_state} for a default-constructed future.
template <class... Ts>
auto when_all(const future<Ts>&... futures) {
  if ((!futures.valid() || ...)) {
    detail::throw_no_state();
  }
  using values = std::tuple<decltype(detail::value_of(futures))...>;
  return detail::gather_when_done<values>({detail::future_access::state(futures)...}, [futures...] {
    return values{detail::value_of(futures)...};
  });
}

}  // namespace troupe
