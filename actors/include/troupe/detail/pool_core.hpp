// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/open_map.hpp"
#include "troupe/detail/attachment.hpp"
#include "troupe/detail/byte_sink.hpp"
#include "troupe/detail/engine.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/detail/future_state.hpp"
#include "troupe/pool_options.hpp"

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

// What the templates of pool.hpp call: bytes instead of types, so that users never compile the
// actors.
namespace troupe::detail {

class submission_sink;
class pool_core;
class segment;
class segment_pool;

/// A function to call with a sink, by reference and without a type.
class encode_ref {
 public:
  template <class F>
  encode_ref(const F& function)  // NOLINT(google-explicit-constructor): a parameter type
      : object_{&function},
        call_{[](const void* object, byte_sink& sink) { (*static_cast<const F*>(object))(sink); }} {
  }
  void operator()(byte_sink& sink) const { call_(object_, sink); }

 private:
  const void* object_;
  void (*call_)(const void*, byte_sink&);
};

/// One submission being encoded: the callable, then its items.
class submission_builder {
 public:
  explicit submission_builder(const engine_ptr& pool);
  submission_builder(std::shared_ptr<segment_pool> segments, std::uint64_t max_part_bytes);
  ~submission_builder();
  submission_builder(submission_builder&&) noexcept;
  submission_builder& operator=(submission_builder&&) = delete;

  /// What `encode` throws comes out as error{argument_encode_failed} with it nested, or as itself
  /// if it is an error; the builder is then as before.
  void callable(encode_ref encode);
  void item(encode_ref encode);
  /// The callable of another builder, encoded once and shared.
  void same_callable(const submission_builder& other);

  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::size_t bytes() const noexcept;
  /// Shared objects it refers to.
  [[nodiscard]] std::size_t attachments() const noexcept { return attachments_.size(); }

 private:
  friend class pool_core;
  friend class map_session;
  friend class nested_calls;
  friend class process_submission;
  void part(encode_ref encode, const char* what);
  void abandon_part(std::size_t attachments_before) noexcept;

  std::unique_ptr<submission_sink> sink_;
  std::size_t callable_bytes_ = 0;
  std::size_t count_ = 0;
  std::vector<std::shared_ptr<segment>> segments_;
  attachment_list attachments_;
};

engine_ptr make_pool(const pool_options& options);
std::shared_ptr<future_state> submit(const engine_ptr& pool, submission_builder&& submission,
                                     const options_ptr& options);
/// Null: the queue is full.
std::shared_ptr<future_state> try_submit(const engine_ptr& pool, submission_builder&& submission,
                                         const options_ptr& options);
/// How the input of a map is pulled, by reference and without a type: encodes the next item's
/// arguments. False: there are no more.
class puller {
 public:
  template <class Walk>
    requires(!std::same_as<Walk, puller>)
  puller(Walk& walk)  // NOLINT(google-explicit-constructor): a parameter type
      : object_{&walk}, call_{[](void* object, submission_builder& submission) {
          return (*static_cast<Walk*>(object))(submission);
        }} {}
  bool operator()(submission_builder& submission) const { return call_(object_, submission); }

 private:
  void* object_;
  bool (*call_)(void*, submission_builder&);
};

/// A map on its way: pulls its input through a window, hands its results out.
///
/// @threads one at a time.
class map_session {
 public:
  map_session(engine_ptr pool, submission_builder callable, const map_settings& how);
  /// As abandon.
  ~map_session();
  map_session(const map_session&) = delete;
  map_session& operator=(const map_session&) = delete;

  /// One item's outcome: an encoded value, or why there is none.
  struct item {
    std::span<const std::byte> value;
    const failure* failed = nullptr;
    const attachment_list* attachments = nullptr;  ///< what the value refers to
  };
  /// The next item's result. Null: the input is used up and every result was handed out. May be
  /// called again after it threw.
  ///
  /// @blocks until it is in.
  /// @throws what pulling or submitting threw, after the results of all items before that one;
  ///   timeout_error instead of each result that is not there when the time is over.
  const item* next(const puller& pull);
  /// Pulls the first window of the input now, and not at the first `next`.
  void prefetch(const puller& pull);
  /// Pulls all that is left and submits it, on any thread, also while another one is in `next`.
  /// Without patience it does nothing while that one is pulling. Errors come out of `next`, as when
  /// that pulls.
  ///
  /// @blocks while the queue is full.
  void pull_rest(const puller& pull, const deadline& until, bool patient) noexcept;
  /// Does nothing if anything was submitted.
  ///
  /// @throws why the first submission was refused.
  void throw_if_refused() const;
  /// No results are read any more. Cancels what has not begun, if `next` was ever called.
  void abandon() noexcept;
  /// As abandon, but with `run_unread`, if `next` was never called and no exception unwinds the
  /// caller, the rest is pulled first.
  void finish(const puller& pull) noexcept;

  /// Pulls the whole input now and makes one future of it.
  std::shared_ptr<future_state> run_async(const puller& pull);

 private:
  struct state;

  std::unique_ptr<state> state_;
};

}  // namespace troupe::detail
