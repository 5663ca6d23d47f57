// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/detail/attachment.hpp"
#include "troupe/detail/clock.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/error.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace troupe {

class connection;

namespace detail {

class connection_core;

/// What crosses in one frame, besides descriptors of users.
struct message {
  byte_buffer bytes;
  attachment_list attachments;
};

/// Says that a message is no value of `type`.
///
/// @throws error{argument_decode_failed} with the type, the size and the reason.
[[noreturn]] void fail_to_decode(const std::type_info& type, std::size_t bytes, const error& why);

struct connection_access;

}  // namespace detail

/// The longest message that crosses unless another limit is asked for.
inline constexpr std::uint64_t default_max_message_bytes = std::uint64_t{1} << 30;

/// A message was longer than the room for it. It is not lost: the error has it.
class buffer_too_short : public error {
 public:
  /// With errc::buffer_too_short.
  buffer_too_short(const std::string& text, std::vector<std::byte> message);
  ~buffer_too_short() override;

  /// The message, whole.
  [[nodiscard]] const std::vector<std::byte>& message() const noexcept { return *message_; }

 private:
  std::shared_ptr<const std::vector<std::byte>> message_;
};

/// One end of a pipe, or of a connection through a socket: messages go in at one end and come out
/// whole at the other, in order.
///
/// @follows Python's Connection; an end of the stream and a broken pipe have types of their own,
///   and a size limit is always in force.
/// @blocks no member but those that send, receive, or poll for a time.
/// @threads any; one may send while another receives, and those that do the same take turns.
///   Different processes must not use the same end for the same direction at once: their messages
///   would mix, as nothing locks between processes. A process that only polls takes nothing away.
/// @crosses as itself, also through another connection (not over TCP). Copies in one process are
///   the same end; what arrives in another process is another owner of it, and the other side sees
///   the end of the stream when all owners closed it. So the sender closes its own afterwards. A
///   connection over TCP has its keys in the process that connected or accepted: that one carries
///   what the others send and receive, so it ends with that process, and native_handle() is another
///   number once it was sent.
/// @worker_dies what it sent whole arrives; then the other side gets end_of_stream, or
///   error{protocol_error} if the last message was cut off. Over TCP an end that the peer did not
///   tell is error{protocol_error} always: the network may have cut the stream. Signals have no
///   effect, and SIGPIPE never comes.
/// @throws error{closed} once closed in this process; std::logic_error from the wrong end of a
///   one-way pipe.
class connection {
 public:
  /// No end at all; everything but `is_open` and `close` throws error{closed}.
  connection() noexcept = default;

  /// Sends one value.
  ///
  /// @blocks while the other side does not read and the system's buffer (about 200 KiB) is full.
  ///   Over TCP it returns when that buffer has room again. Two sides that both send big messages
  ///   before they read wait for each other for ever.
  /// @throws broken_pipe; error{payload_too_large}, and what encoding throws, before anything was
  ///   sent; error{argument_encode_failed} for a handle of a shared object over TCP;
  ///   error{resource_exhausted} if the system has no room for its descriptor.
  template <class T>
  void send(const T& value) {
    using decayed = std::decay_t<const T&>;
    if constexpr (std::is_same_v<decayed, const char*> || std::is_same_v<T, std::string_view>) {
      send(std::string{value});  // a literal arrives as the string it looks like
    } else {
      detail::message what;
      {
        const detail::attachment_collector scope{what.attachments};
        encode(what.bytes, value);
      }
      send_message(what);
    }
  }

  /// Receives one value, which must have been sent as a `T`.
  ///
  /// @blocks until a whole message is there; `poll` says whether one has begun to arrive.
  /// @throws end_of_stream; error{argument_decode_failed} for bytes that are no `T`, or a message
  ///   that is no value: it is then lost, and the connection stays usable; error{protocol_error}
  ///   for a frame that no connection sends, that is cut off or too large: the connection is then
  ///   closed; error{resource_exhausted} if there are no descriptors left for what came with the
  ///   value, which is then lost.
  template <class T>
  [[nodiscard]] T recv() {
    detail::message what;
    receive_message(what);
    const detail::attachment_source scope{what.attachments};
    try {
      return decode<T>(what.bytes.bytes());
    } catch (const error& why) {
      if (why.code() == errc::protocol_error || why.code() == errc::nesting_too_deep) {
        detail::fail_to_decode(typeid(T), what.bytes.size(), why);
      }
      throw;
    }
  }

  /// @{
  /// Sends bytes as they are; a message of no bytes is a message, too.
  ///
  /// @blocks as send.
  /// @throws as send.
  void send_bytes(std::span<const std::byte> bytes);
  void send_bytes(std::string_view text) { send_bytes(std::as_bytes(std::span{text})); }
  /// @}

  /// Receives what `send_bytes` sent.
  ///
  /// @blocks as recv.
  /// @throws as recv.
  [[nodiscard]] std::vector<std::byte> recv_bytes();
  /// As recv_bytes, into memory of the caller's.
  ///
  /// @returns how many bytes the message had.
  /// @blocks as recv.
  /// @throws as recv; buffer_too_short, which has the message, if it does not fit.
  std::size_t recv_bytes_into(std::span<std::byte> room);

  /// Sends a descriptor of any kind; the caller keeps its own.
  ///
  /// @blocks as send.
  /// @throws as send; error{argument_encode_failed} if `number` is no open descriptor, and over
  ///   TCP.
  void send_descriptor(int number);
  /// Receives what `send_descriptor` sent: a new descriptor, close-on-exec, the caller's to close.
  ///
  /// @blocks as recv.
  /// @throws as recv; error{argument_decode_failed} if the message is something else.
  [[nodiscard]] int recv_descriptor();

  /// Whether there is something to receive; the end of the stream counts, too. Does not wait.
  [[nodiscard]] bool poll() { return poll_until(std::chrono::steady_clock::now()); }
  /// The same within a time.
  ///
  /// @returns false: the time was over first.
  /// @blocks until there is something, at most for `timeout`; a negative time is over at once.
  template <class Rep, class Period>
  [[nodiscard]] bool poll(std::chrono::duration<Rep, Period> timeout) {
    return poll_until(detail::deadline_after(timeout));
  }

  /// The number of the socket, for a poll of the caller's own; stays this connection's. It is
  /// readable when a message has begun to arrive; the bytes are not for the caller.
  [[nodiscard]] int native_handle() const;
  /// This is an end, and it was not closed in this process.
  [[nodiscard]] bool is_open() const noexcept;
  /// This end may receive: false at the sending end of a one-way pipe, and once closed.
  [[nodiscard]] bool readable() const noexcept;
  /// This end may send: false at the receiving end of a one-way pipe, and once closed.
  [[nodiscard]] bool writable() const noexcept;

  /// Closes this end for all copies in this process. May be called again. Calls of other threads
  /// that have begun go on to their end.
  void close() noexcept;

  /// The same end of this process, or both none.
  [[nodiscard]] friend bool operator==(const connection& a, const connection& b) noexcept {
    return a.core_ == b.core_;
  }

  /// @{
  /// How the codec writes and reads a handle.
  void save(output_archive& ar) const;
  void load(input_archive& ar);
  /// @}

 private:
  friend struct detail::connection_access;
  explicit connection(std::shared_ptr<detail::connection_core> core) noexcept
      : core_{std::move(core)} {}

  [[nodiscard]] detail::connection_core& core() const;
  void send_message(const detail::message& what);
  void receive_message(detail::message& what);
  [[nodiscard]] bool poll_until(const detail::deadline& until);

  std::shared_ptr<detail::connection_core> core_;
};

/// How to make a pipe.
struct pipe_options {
  bool duplex = true;  ///< else the first end only receives and the second only sends
  std::uint64_t max_message_bytes = default_max_message_bytes;  ///< in either direction
};

/// Two connected ends.
///
/// @follows Python's Pipe, also in which end is which.
/// @crosses each end as itself, see connection.
/// @throws error{resource_exhausted}.
[[nodiscard]] std::pair<connection, connection> pipe(pipe_options options = {});

}  // namespace troupe
