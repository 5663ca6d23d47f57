// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/connection.hpp"
#include "troupe/detail/clock.hpp"
#include "troupe/detail/futex.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace troupe {

namespace detail {
class listener_core;
}  // namespace detail

/// How to listen.
struct listener_options {
  /// Both sides must have the same; an empty one is a key, too. Without one only processes of the
  /// same user are let in. TCP does not tell the peer's user, so it needs a key.
  std::optional<std::string> key = std::nullopt;
  int backlog = 128;                                    ///< clients that the system keeps waiting
  std::chrono::milliseconds handshake_timeout{10'000};  ///< then a client that is silent is dropped
  bool allow_remote = false;                            ///< TCP addresses other than the loopback's
  std::uint64_t max_message_bytes = default_max_message_bytes;  ///< of the connections
};

/// How to connect.
struct connect_options {
  std::optional<std::string> key = std::nullopt;                ///< as the listener's
  std::chrono::milliseconds timeout{10'000};                    ///< for all of it
  std::uint64_t max_message_bytes = default_max_message_bytes;  ///< of the connection
};

/// Lets other processes connect under an address.
///
/// An address is a path with a slash (`/run/app.sock`, `./app.sock`), an abstract name of Linux
/// (`@app`), or `host:port` for TCP (`127.0.0.1:0`, `[::1]:4000`; port 0 picks a free one). A key
/// is proven by both sides and never sent; it should be random, as whoever is in the network can try
/// keys at leisure. Over TCP it is the pre-shared key of TLS 1.3, so all that is sent is private and
/// bound to the proof. Through a Unix socket the proof, HMAC-SHA-256 of random challenges, holds for
/// the two processes and sockets that are connected; a process in between, which passes on what both
/// send, is refused (a forwarder is one, too).
///
/// @follows Python's Listener, except that both sides always prove their key, that other clients
///   need not wait for a silent one, and that the socket file of a listener that died is replaced.
/// @blocks no member but `accept` and `accept_for`.
/// @threads any.
/// @crosses no; send the address.
/// @worker_dies its socket file stays, until the next listener of that path replaces it.
class listener {
 public:
  /// Listens at once: clients may connect before `accept` is called.
  ///
  /// @throws std::invalid_argument for an address or option that cannot be; error{address_in_use}
  ///   if another listener has the address; error{connect_failed} if it cannot be had: no such
  ///   folder, no permission; error{resource_exhausted}.
  explicit listener(const std::string& address, listener_options options = {});
  /// As close.
  ~listener();
  /// @{
  /// The other one is closed then: its members throw error{closed}.
  listener(listener&&) noexcept = default;
  listener& operator=(listener&& other) noexcept;
  /// @}
  listener(const listener&) = delete;
  listener& operator=(const listener&) = delete;

  /// Waits for the next client that has proven its key.
  ///
  /// @blocks until there is one, or the listener is closed.
  /// @throws authentication_error if a client has another key: the listener goes on; error{closed}
  ///   if it is closed, also meanwhile; error{resource_exhausted} without descriptors: the next
  ///   client goes on waiting. Before that, the oldest client that has not proven its key is
  ///   dropped for it.
  [[nodiscard]] connection accept();
  /// As accept, for a limited time.
  ///
  /// @returns nothing: the time was over first.
  /// @blocks for at most `timeout`; a negative one is over at once.
  /// @throws as accept.
  template <class Rep, class Period>
  [[nodiscard]] std::optional<connection> accept_for(std::chrono::duration<Rep, Period> timeout) {
    return accept_until(detail::deadline_after(timeout));
  }

  /// Where it listens, with the port that was picked; empty if it was moved from.
  [[nodiscard]] const std::string& address() const noexcept;
  /// The number of a descriptor that is readable when `accept` has something to do, which may also
  /// be a client that is not done with its proof. It stays this listener's.
  ///
  /// @throws error{closed} if it is closed or was moved from.
  [[nodiscard]] int native_handle() const;
  /// It was neither closed nor moved from.
  [[nodiscard]] bool is_open() const noexcept;
  /// Lets no client in any more, and removes its socket file. Connections that were accepted stay;
  /// threads in `accept` get error{closed}. May be called again. Does not wait.
  void close() noexcept;

 private:
  [[nodiscard]] std::optional<connection> accept_until(const detail::deadline& until);

  std::shared_ptr<detail::listener_core> core_;
};

/// Connects to a listener.
///
/// @blocks until both sides have proven their keys, at most for `.timeout`.
/// @throws authentication_error; error{connect_failed} if no listener has the address;
///   timeout_error; error{protocol_error} if what listens there is no troupe::listener;
///   std::invalid_argument for an address that cannot be.
[[nodiscard]] connection connect(const std::string& address, connect_options options = {});

}  // namespace troupe
