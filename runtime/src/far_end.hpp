// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/detail/region.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

// How the operation of a handle becomes a message to the machine where its object is.
namespace troupe::detail {

class far_session;

// NOLINTNEXTLINE(performance-enum-size): two bytes on the wire
enum class far_op : std::uint16_t {
  lock = 1,
  try_lock,
  lock_for,
  unlock,
  inherited,
  recovered,
  acquire,
  release,
  count,
  set,
  clear,
  is_set,
  wait,
  wait_with,
  notify,
  waiting,
  arrive,
  acted,
  abort,
  reset,
  parties,
  broken,
  step,
  exchange,
  lock_data,
  unlock_data,
  put,
  get,
  task_done,
  join,
  close,
  is_closed,
  size,
  capacity,
  storage_bytes,
};

// What begins a message to home; only `request` has more than its number and thread.
enum class far_message : std::uint8_t { request = 1, release = 2, thread_ended = 3 };

/// `act`: the barrier's action is to be called by who asked, then `acted` is to be sent.
enum class answer_status : std::uint8_t { done = 0, failed = 1, act = 2 };

/// Where the number is in a message to home, behind its kind.
inline constexpr std::size_t number_offset = 1;
/// Number and status, before an answer's result.
inline constexpr std::size_t answer_header_bytes = 9;

/// How long a deadline is away; -1: for ever.
[[nodiscard]] inline std::int64_t time_left(const deadline& until) {
  if (!until) {
    return -1;
  }
  const auto left = *until - std::chrono::steady_clock::now();
  return left > left.zero() ? std::chrono::nanoseconds{left}.count() : 0;
}

/// An answer that is no failure.
class far_answer {
 public:
  explicit far_answer(std::vector<std::byte> bytes) noexcept : bytes_{std::move(bytes)} {}
  [[nodiscard]] bool asks_to_act() const noexcept {
    return static_cast<answer_status>(bytes_[answer_header_bytes - 1]) == answer_status::act;
  }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  /// @throws error{protocol_error}.
  template <class Result>
  [[nodiscard]] Result result() const {
    input_archive ar{bytes_};
    ar.skip(answer_header_bytes, typeid(far_answer));
    Result read{};
    ar(read);
    ar.finish(typeid(Result));
    return read;
  }

 private:
  std::vector<std::byte> bytes_;
};

/// An operation on its way.
class far_request {
 public:
  far_request(const region& object, far_op what);
  [[nodiscard]] output_archive& arguments() noexcept { return ar_; }
  /// Sends it, and blocks until it is answered or the link is cut.
  ///
  /// @throws what the operation threw at home; error{connection_lost}.
  [[nodiscard]] far_answer send();

 private:
  std::shared_ptr<far_session> to_;
  byte_buffer bytes_;
  output_archive ar_{bytes_};
};

template <class... Args>
[[nodiscard]] far_answer ask_far(const region& object, far_op what, const Args&... args) {
  far_request request{object, what};
  (request.arguments()(args), ...);
  return request.send();
}

template <class Result = void, class... Args>
Result call_far(const region& object, far_op what, const Args&... args) {
  const far_answer answer = ask_far(object, what, args...);
  if constexpr (!std::is_void_v<Result>) {
    return answer.result<Result>();
  }
}

/// Both are of the same session, so at the same home.
[[nodiscard]] bool same_home(const region& a, const region& b) noexcept;

/// Writes to a message for the home of `object`, and reads from its answer, what came with bytes.
///
/// @throws error{argument_encode_failed} for objects that are not of that home.
void save_far_cargo(output_archive& ar, const region& object, const cargo_list& cargo);
[[nodiscard]] cargo_list load_far_cargo(input_archive& ar, const region& object);

/// What a region has instead of memory.
class far_end {
 public:
  explicit far_end(std::shared_ptr<far_session> session, std::uint64_t id) noexcept
      : session_{std::move(session)}, id_{id} {}
  /// Tells home that nobody has a handle here any more.
  ~far_end();
  far_end(const far_end&) = delete;
  far_end& operator=(const far_end&) = delete;

  [[nodiscard]] const std::shared_ptr<far_session>& session() const noexcept { return session_; }
  /// Home counts how often it was lent.
  void arrived_again() noexcept { lent_.fetch_add(1); }

 private:
  std::shared_ptr<far_session> session_;
  std::uint64_t id_;
  std::atomic<std::uint64_t> lent_{1};
};

}  // namespace troupe::detail
