// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <utility>

namespace troupe::detail {

/// Throws for an iterator that is at the end, belongs to no range, or has outlived its range.
[[noreturn]] void throw_no_element();
[[noreturn]] void throw_range_moved();

/// Where the iterators of a range of results are: at an element, at an exception, or at the end.
///
///   before ──++──▶ element ──++──▶ ... ──++──▶ end
///                     └──++ throws──▶ exception ──++──▶ element, exception, or end
template <class Place>
class result_cursor {
 public:
  /// What `next` throws comes out, and again from `here` until the next call.
  template <class Next>
  void advance(Next&& next) {
    end();
    try {
      place_ = next();
    } catch (...) {
      thrown_ = std::current_exception();
      throw;
    }
  }
  [[nodiscard]] const Place& here() const {
    if (place_ == nullptr) {
      if (thrown_ != nullptr) {
        std::rethrow_exception(thrown_);
      }
      throw_no_element();
    }
    return *place_;
  }
  [[nodiscard]] bool at_end() const noexcept { return place_ == nullptr && thrown_ == nullptr; }
  void end() noexcept {
    place_ = nullptr;
    thrown_ = nullptr;
  }

 private:
  const Place* place_ = nullptr;
  std::exception_ptr thrown_;
};

/// The iterator of a range that has one element at a time, once for each position. Copies are at
/// the same position as the original, always. What they share is asked for `advance()`, `take()`
/// and `at_end()`.
template <class State, class Value>
class pull_iterator {
 public:
  using iterator_concept = std::input_iterator_tag;
  using value_type = Value;
  using difference_type = std::ptrdiff_t;

  pull_iterator() = default;
  explicit pull_iterator(std::shared_ptr<State> state) : state_{std::move(state)} {}
  /// What the range says of its elements: they may be moved out, or throw; going on with ++
  /// afterwards is fine.
  ///
  /// @throws after a ++ that threw, the same again; error{no_state} at the end, after the end of
  ///   the range, and if default-constructed.
  Value operator*() const { return state().take(); }
  pull_iterator& operator++() {
    state().advance();
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const pull_iterator& it, std::default_sentinel_t) { return it.at_end(); }

 private:
  [[nodiscard]] State& state() const {
    if (state_ == nullptr) {
      throw_no_element();
    }
    return *state_;
  }
  [[nodiscard]] bool at_end() const { return state_ == nullptr || state_->at_end(); }

  std::shared_ptr<State> state_;
};

/// A range of which each element comes once. Its iterators may outlive it: they are at the end
/// then. Its state is asked to `finish()` when the range goes.
template <class State, class Value>
class pulled_range {
 public:
  using iterator = pull_iterator<State, Value>;

  explicit pulled_range(std::shared_ptr<State> state) : state_{std::move(state)} {}
  pulled_range(pulled_range&&) noexcept = default;
  pulled_range(const pulled_range&) = delete;
  pulled_range& operator=(const pulled_range&) = delete;
  pulled_range& operator=(pulled_range&& other) noexcept {
    if (this != &other) {
      finish();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~pulled_range() { finish(); }

  /// The next element's iterator: results are not kept, so another call goes on behind the first.
  ///
  /// @throws as ++; another call goes on then.
  iterator begin() {
    if (state_ == nullptr) {
      throw_range_moved();
    }
    state_->advance();
    return iterator{state_};
  }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  void finish() noexcept {
    if (const auto state = std::move(state_)) {
      state->finish();
    }
  }

  std::shared_ptr<State> state_;
};

/// One of which only those elements are computed that are asked for.
template <class State, class Value>
class [[nodiscard("only what is read from this range is computed")]] lazy_range
    : public pulled_range<State, Value> {
 public:
  using pulled_range<State, Value>::pulled_range;
};

}  // namespace troupe::detail
