// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"
#include "troupe/detail/futex.hpp"

#include "ipc/stream_io.hpp"

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

namespace troupe::detail {

/// TLS 1.3 on a connected TCP socket, by OpenSSL: both sides prove their key, which is the external
/// pre-shared key of TLS (psk_dhe_ke), and what they send is bound to that proof and private. A side
/// with another key, or without one, is refused; there are no certificates, no tickets and no early
/// data.
///
/// The keys of the stream are in this process: another one that has the socket can do nothing with
/// it, not even one that was forked from this one.
///
/// @threads any: one may send while another receives.
class secure_stream {
 public:
  enum class side : std::uint8_t { listener, client };
  enum class progress : std::uint8_t {
    under_way,  ///< call `shake_hands` again when the socket is readable
    done,       ///< both have proven their key
    refused,    ///< the keys differ
    failed      ///< the peer has ended, or is no troupe process
  };

  /// @throws error{resource_exhausted}, also where OpenSSL has shut itself down.
  secure_stream(side role, const std::string& key);
  /// Tells the peer that this end is closed, unless the process ends without it.
  ~secure_stream();
  secure_stream(const secure_stream&) = delete;
  secure_stream& operator=(const secure_stream&) = delete;

  /// Does what can be done at once, and says in `why` what was expected where it fails.
  progress shake_hands(int socket, std::string& why);
  /// Keeps the socket open, from when the handshake is done.
  void keep(std::shared_ptr<const attachment> socket) noexcept { socket_ = std::move(socket); }

  /// As the functions of stream_io.hpp. An end of the stream that the peer did not tell is
  /// ECONNABORTED: it may have been killed, or something cut the connection. What is no record of
  /// the peer's is EBADMSG. What is sent with one call is in records of its own, so that with a
  /// peer that receives all of it the socket is readable when and only when something has come.
  sys::io_result send_all(std::span<const std::byte> first, std::span<const std::byte> second);
  sys::io_result receive_all(std::span<std::byte> to);
  /// As receive_all, but returns what has come as soon as that is something.
  sys::io_result receive_some(std::span<std::byte> to);
  /// Something can be received, or has failed. False: the time was over first.
  bool poll(const deadline& until);
  /// A record that was begun to be received has more bytes.
  [[nodiscard]] bool has_rest();

  /// The peer is told that no more is sent. Called by the destructor.
  void say_farewell() noexcept;
  /// Ends the calls of other threads that wait for the peer.
  void cut() noexcept;

  /// False: in a process that was forked from the one that has the keys.
  [[nodiscard]] bool is_ours() const noexcept;

 private:
  struct tls;  // OpenSSL's objects

  /// Blocks until the socket is ready for what `wanted` says, an error of OpenSSL; an errno or 0.
  [[nodiscard]] int wait_for(int wanted) const noexcept;
  sys::io_result write(std::span<const std::byte> bytes);

  std::unique_ptr<tls> tls_;
  std::shared_ptr<const attachment> socket_;
  const std::uint32_t owner_;
  std::mutex mutex_;  // of tls_, held while OpenSSL works and never while a thread waits
};

}  // namespace troupe::detail
