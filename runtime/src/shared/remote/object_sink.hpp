// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

// Shared objects on other machines. Where an object is, at the exporter, an `export_session` stands
// for one process of another machine; there an `import_session` stands for the exporter. Between
// them lies a transport, which moves messages and the bytes of values, and knows nothing of either:
//
//   the other machine                      transport                    exporter
//   handle ─▶ import_session ─▶ object_sink ······▶ export_session::receive ─▶ proxy ─▶ object
//   handle ◀─ import_session::receive ◀······ object_sink ◀───────────────── proxy
//
// A value with handles in it is encoded under `attachment_collector{attachments,
// attachment_route::link}`; its bytes are sent along with what `pack(attachments)` says, which the
// other side's `unpack` makes attachments of.
namespace troupe::detail {

/// One direction of a transport.
class object_sink {
 public:
  object_sink() = default;
  object_sink(const object_sink&) = delete;
  object_sink& operator=(const object_sink&) = delete;
  virtual ~object_sink();

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
/// that waits or has locks is represented by a thread here, its proxy. What arrives is not
/// trusted.
///
/// @threads any.
class export_session {
 public:
  /// Begins with nothing exported.
  ///
  /// @throws std::system_error if there can be no more threads.
  explicit export_session(std::unique_ptr<object_sink> to_remote);
  ~export_session();
  export_session(const export_session&) = delete;
  export_session& operator=(const export_session&) = delete;

  /// A message of the remote process. Does not wait for what it asks for.
  void receive(std::span<const std::byte> message);

  /// The link is cut. Does what the death of a process does: its locks are inherited, its permits
  /// and arrivals given back, what it took and did not finish is done, its waiters leave.
  ///
  /// A proxy must not call it.
  ///
  /// @blocks until that is done, a fraction of a second; longer only for a proxy that waits in the
  ///   transport's `send`.
  void end() noexcept;

  /// Exports the objects to the remote process, and says so in bytes for its `unpack`. They live as
  /// long as it has handles, at most as long as the session.
  ///
  /// @throws error{argument_encode_failed} for what works on this machine only;
  ///   error{connection_lost} after the end; error{resource_exhausted}.
  [[nodiscard]] std::vector<std::byte> pack(const attachment_list& attachments);
  /// What the remote process packed: objects that it was exported.
  ///
  /// @throws error{protocol_error}.
  [[nodiscard]] attachment_list unpack(std::span<const std::byte> bytes);

 private:
  class state;
  std::unique_ptr<state> state_;
};

class import_state;

/// What handles here do with objects at the exporter.
///
/// @threads any.
class import_session {
 public:
  explicit import_session(std::unique_ptr<object_sink> to_exporter);
  ~import_session();
  import_session(const import_session&) = delete;
  import_session& operator=(const import_session&) = delete;

  /// An answer from the exporter.
  void receive(std::span<const std::byte> message);

  /// The link is cut: operations that wait for an answer fail with error{connection_lost}, and it
  /// is not known whether they were done; later ones are not. What was held is given back at the
  /// exporter.
  void end() noexcept;

  /// Says in bytes, for the exporter's `unpack`, which objects of that exporter a value refers to.
  ///
  /// @throws error{argument_encode_failed} for objects of other machines.
  [[nodiscard]] std::vector<std::byte> pack(const attachment_list& attachments);
  /// What the exporter packed.
  ///
  /// @throws error{protocol_error}.
  [[nodiscard]] attachment_list unpack(std::span<const std::byte> bytes);

 private:
  std::shared_ptr<import_state> session_;
};

}  // namespace troupe::detail
