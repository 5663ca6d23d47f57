// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "ipc/peer_credentials.hpp"
#include "ipc/secure_stream.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace troupe::detail {

/// Two processes prove to each other that they have the same key, before the first message. Never
/// blocks. Over TCP this is TLS' own handshake (secure_stream). Through a Unix socket:
///
///     listener                                     client
///       greeting: magic, mode, challenge L, credentials  ---->
///       <----  answer: magic, mode, challenge C, credentials, HMAC(key, "client", ...)
///       verdict: accepted, HMAC(key, "listener", ...)  ---->
///
/// Each side's text names its role, so that a side does not accept its own proof sent back to it. It
/// also has both processes and the names of both ends, as each side sees them: through a process in
/// between, which could take the connection over, the sides see other ones, and no proof is right.
/// docs/protocol.md has the bytes. Without a key the same is done with zeros for the proofs, so
/// that a side with a key and one without notice each other.
class handshake {
 public:
  enum class side : std::uint8_t { listener, client };
  enum class state : std::uint8_t {
    under_way,  ///< call `step` again when the socket is readable
    done,       ///< both have proven themselves
    refused,    ///< the keys differ; `why` says what was expected
    failed      ///< the peer has ended, or is no troupe process; `why` says which
  };

  /// `self` is this process, as the kernel tells the other end of a Unix socket. Nothing: TCP, which
  /// needs a key.
  handshake(side role, const std::optional<std::string>& key,
            const std::optional<process_credentials>& self);

  /// Does what can be done at once: at first the listener's greeting.
  state step(int socket);
  [[nodiscard]] const std::string& why() const noexcept { return why_; }

  /// Once done: what secures the stream from now on; null for a Unix socket.
  [[nodiscard]] std::shared_ptr<secure_stream> take_stream() noexcept { return std::move(secure_); }

  static constexpr std::size_t challenge_bytes = 32;
  static constexpr std::size_t proof_bytes = 32;

 private:
  struct greeting;
  struct answer;
  struct verdict;
  using proof = std::array<std::byte, proof_bytes>;

  state step_secure(int socket);
  state begin(int socket);
  state check_answer(int socket);
  state answer_greeting(int socket);
  state check_verdict(int socket);
  /// Sends it whole, which a fresh socket has room for.
  template <class Message>
  [[nodiscard]] bool send(int socket, const Message& message);
  template <class Message>
  [[nodiscard]] Message received() const noexcept;
  [[nodiscard]] proof prove(side by, int socket) const;
  state fail(std::string why);
  state refuse(std::string why);

  side side_;
  const std::optional<std::string>& key_;
  bool is_tcp_;
  std::shared_ptr<secure_stream> secure_;  // over TCP, and nothing of the rest is used then
  bool begun_ = false;
  bool answered_ = false;
  std::array<std::byte, challenge_bytes> listeners_{};
  std::array<std::byte, challenge_bytes> clients_{};
  process_credentials self_{};
  process_credentials peer_{};       // as it says itself
  std::array<std::byte, 112> in_{};  // the peer's message; more is never read before it is trusted
  std::size_t in_bytes_ = 0;
  std::string why_;
};

}  // namespace troupe::detail
