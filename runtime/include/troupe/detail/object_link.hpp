// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/cargo.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

// Shared objects on other machines. Where an object is, at home, a `home_session` stands for one
// process of another machine; there a `remote_session` stands for home. Between them lies a
// transport, which moves messages and the bytes of values, and knows nothing of either:
//
//   the other machine                      transport                    home
//   handle ─▶ remote_session ─▶ object_link ······▶ home_session::receive ─▶ deputy ─▶ object
//   handle ◀─ remote_session::receive ◀······ object_link ◀───────────────── deputy
//
// A value with handles in it is encoded under `cargo_loading{cargo, cargo_way::link}`; its bytes
// are sent along with what `pack(cargo)` says, which the other side's `unpack` makes cargo of.
namespace troupe::detail {

/// One direction of a transport.
class object_link {
 public:
  object_link() = default;
  object_link(const object_link&) = delete;
  object_link& operator=(const object_link&) = delete;
  virtual ~object_link();

  /// Hands `message` over for the other side's `receive`: whole, in order, once, or the link is cut
  /// and both sides are told by `end()`. Called by any thread, one at a time. Neither calls back
  /// into the session nor waits for it.
  ///
  /// @throws anything, if it was certainly not sent.
  virtual void send(std::vector<std::byte> message) = 0;
};

/// What one process of another machine does with objects here.
///
/// To each object it is one more process: it has a line of its own in the ledger. A thread there
/// that waits or has locks is represented by a thread here, its deputy. What arrives is not
/// trusted.
///
/// @threads any.
class home_session {
 public:
  /// Begins with nothing lent.
  ///
  /// @throws std::system_error if there can be no more threads.
  explicit home_session(std::unique_ptr<object_link> to_remote);
  ~home_session();
  home_session(const home_session&) = delete;
  home_session& operator=(const home_session&) = delete;

  /// A message of the remote process. Does not wait for what it asks for.
  void receive(std::span<const std::byte> message);

  /// The link is cut. Does what the death of a process does: its locks are inherited, its permits
  /// and arrivals given back, what it took and did not finish is done, its waiters leave.
  ///
  /// A deputy must not call it.
  ///
  /// @blocks until that is done, a fraction of a second; longer only for a deputy that waits in the
  ///   transport's `send`.
  void end() noexcept;

  /// Lends the objects to the remote process, and says so in bytes for its `unpack`. They live as
  /// long as it has handles, at most as long as the session.
  ///
  /// @throws error{argument_encode_failed} for what works on this machine only;
  ///   error{connection_lost} after the end; error{resource_exhausted}.
  [[nodiscard]] std::vector<std::byte> pack(const cargo_list& cargo);
  /// What the remote process packed: objects that it was lent.
  ///
  /// @throws error{protocol_error}.
  [[nodiscard]] cargo_list unpack(std::span<const std::byte> bytes);

 private:
  class state;
  std::unique_ptr<state> state_;
};

class far_session;

/// What handles here do with objects at home.
///
/// @threads any.
class remote_session {
 public:
  explicit remote_session(std::unique_ptr<object_link> to_home);
  ~remote_session();
  remote_session(const remote_session&) = delete;
  remote_session& operator=(const remote_session&) = delete;

  /// An answer from home.
  void receive(std::span<const std::byte> message);

  /// The link is cut: operations that wait for an answer fail with error{connection_lost}, and it
  /// is not known whether they were done; later ones are not. What was held is given back at home.
  void end() noexcept;

  /// Says in bytes, for home's `unpack`, which objects of that home a value refers to.
  ///
  /// @throws error{argument_encode_failed} for objects of other machines.
  [[nodiscard]] std::vector<std::byte> pack(const cargo_list& cargo);
  /// What home packed.
  ///
  /// @throws error{protocol_error}.
  [[nodiscard]] cargo_list unpack(std::span<const std::byte> bytes);

 private:
  std::shared_ptr<far_session> session_;
};

}  // namespace troupe::detail
