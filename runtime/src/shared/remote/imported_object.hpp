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

class import_state;

// NOLINTNEXTLINE(performance-enum-size): two bytes on the wire
enum class remote_op : std::uint16_t {
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

// What begins a message to the exporter; only `request` has more than its number and thread.
enum class remote_message : std::uint8_t { request = 1, release = 2, thread_ended = 3 };

/// `act`: the thread that asked is to call the barrier's action, and then to send `acted`.
enum class answer_status : std::uint8_t { done = 0, failed = 1, act = 2 };

/// Where the number is in a message to the exporter, behind its kind.
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
class remote_answer {
 public:
  explicit remote_answer(std::vector<std::byte> bytes) noexcept : bytes_{std::move(bytes)} {}
  [[nodiscard]] bool asks_to_act() const noexcept {
    return static_cast<answer_status>(bytes_[answer_header_bytes - 1]) == answer_status::act;
  }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  /// @throws error{protocol_error}.
  template <class Result>
  [[nodiscard]] Result result() const {
    input_archive ar{bytes_};
    ar.skip(answer_header_bytes, typeid(remote_answer));
    Result read{};
    ar(read);
    ar.finish(typeid(Result));
    return read;
  }

 private:
  std::vector<std::byte> bytes_;
};

/// An operation on its way.
class remote_request {
 public:
  remote_request(const region& object, remote_op what);
  [[nodiscard]] output_archive& arguments() noexcept { return ar_; }
  /// Sends it, and blocks until it is answered or the link is cut.
  ///
  /// @throws what the operation threw at the exporter; error{connection_lost}.
  [[nodiscard]] remote_answer send();

 private:
  std::shared_ptr<import_state> to_;
  byte_buffer bytes_;
  output_archive ar_{bytes_};
};

template <class... Args>
[[nodiscard]] remote_answer ask_remote(const region& object, remote_op what, const Args&... args) {
  remote_request request{object, what};
  (request.arguments()(args), ...);
  return request.send();
}

template <class Result = void, class... Args>
Result call_remote(const region& object, remote_op what, const Args&... args) {
  const remote_answer answer = ask_remote(object, what, args...);
  if constexpr (!std::is_void_v<Result>) {
    return answer.result<Result>();
  }
}

/// Both are of the same session, so at the same exporter.
[[nodiscard]] bool same_exporter(const region& a, const region& b) noexcept;

/// Writes to a message for the exporter of `object`, and reads from its answer, what came with
/// bytes.
///
/// @throws error{argument_encode_failed} for objects that are not of that exporter.
void save_remote_attachments(output_archive& ar, const region& object,
                             const attachment_list& attachments);
[[nodiscard]] attachment_list load_remote_attachments(input_archive& ar, const region& object);

/// What a region has instead of memory.
class imported_object final : public remote_object {
 public:
  explicit imported_object(std::shared_ptr<import_state> session, std::uint64_t id) noexcept
      : session_{std::move(session)}, id_{id} {}
  /// Tells the exporter that there is no handle here any more.
  ~imported_object() override;
  imported_object(const imported_object&) = delete;
  imported_object& operator=(const imported_object&) = delete;

  [[nodiscard]] const std::shared_ptr<import_state>& session() const noexcept { return session_; }
  /// The exporter counts how often it was exported.
  void arrived_again() noexcept { exported_.fetch_add(1); }

 private:
  std::shared_ptr<import_state> session_;
  std::uint64_t id_;
  std::atomic<std::uint64_t> exported_{1};
};

/// The remote end of a region that has one.
[[nodiscard]] inline imported_object* imported(const region& object) noexcept {
  return static_cast<imported_object*>(object.remote());
}

}  // namespace troupe::detail
