// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/connection.hpp"

#include "base/thread_safety.hpp"
#include "ipc/secure_stream.hpp"
#include "os/descriptor_attachment.hpp"

#include <cstdint>
#include <memory>

namespace troupe::detail {

/// What a connection may do. All of its owners have the same.
struct connection_traits {
  bool readable = true;
  bool writable = true;
  bool local = true;  ///< a Unix socket, which moves descriptors
  std::uint64_t max_message_bytes = default_max_message_bytes;
};

/// What a connection sends through. Without a socket it is closed.
struct transport {
  std::shared_ptr<const attachment> socket;
  std::shared_ptr<secure_stream> secure;  ///< over TCP; null: the socket alone
};

enum class frame_content : std::uint8_t { value = 1, bytes = 2, descriptor = 3 };

/// The owner of one end in this process.
class connection_core {
 public:
  connection_core(transport through, connection_traits traits) noexcept
      : traits_{traits}, through_{std::move(through)} {}

  void send(frame_content content, std::span<const std::byte> bytes, const attachment_list& with);
  /// Receives a whole frame. What is not `wanted` is an error, after which the next frame is next.
  /// `to.step(left)` says how much to read next, and `to.extend(bytes)` gives the memory for it.
  template <class Sink>
  void receive(frame_content wanted, Sink& to, attachment_list& with);

  [[nodiscard]] bool poll(const deadline& until);
  /// Throws error{closed}.
  [[nodiscard]] std::shared_ptr<const attachment> socket() const { return through().socket; }
  /// The socket for another process. One that is secured is carried from now on, see carry.
  ///
  /// @throws error{closed}; error{argument_encode_failed} while another thread receives from it;
  ///   error{resource_exhausted}.
  [[nodiscard]] std::shared_ptr<const attachment> socket_for_others();
  [[nodiscard]] bool is_open() const noexcept;
  void close() noexcept;
  [[nodiscard]] const connection_traits& traits() const noexcept { return traits_; }

 private:
  /// Throws error{closed}.
  [[nodiscard]] transport through() const;
  [[noreturn]] void fail_sending(int error, bool begun);
  /// Closes, and throws error{protocol_error}.
  [[noreturn]] void fail_frame(const std::string& why);
  [[noreturn]] void fail_receiving(int error);

  /// Called before a lock is taken: in a forked child locks may be held by threads that it does not
  /// have.
  void check_not_inherited() const;
  [[nodiscard]] bool is_inherited() const noexcept { return table_ != descriptor_table; }

  const std::uint32_t table_ = descriptor_table;
  const connection_traits traits_;
  guarded_mutex sending_;        // a whole frame goes, before the next one begins
  guarded_mutex receiving_;      // the same for what comes
  mutable guarded_mutex mutex_;  // held for moments only
  transport through_ TROUPE_GUARDED_BY(mutex_);
};

struct connection_access {
  static connection make(descriptor socket, connection_traits traits,
                         std::shared_ptr<secure_stream> secure = nullptr) {
    transport through;
    through.socket =
        std::make_shared<descriptor_attachment>(new_attachment_id(), std::move(socket));
    if (secure != nullptr) {
      secure->keep(through.socket);
      through.secure = std::move(secure);
    }
    return connection{std::make_shared<connection_core>(std::move(through), traits)};
  }
};

}  // namespace troupe::detail
