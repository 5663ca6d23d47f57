// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/connection.hpp"
#include "troupe/detail/descriptor.hpp"
#include "troupe/error.hpp"
#include "troupe/listener.hpp"

#include "base/thread_safety.hpp"
#include "ipc/handshake.hpp"
#include "ipc/peer_credentials.hpp"
#include "ipc/socket_address.hpp"
#include "os/process_identity.hpp"

#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <deque>
#include <list>
#include <optional>
#include <string>

namespace troupe::detail {

/// The state behind a listener's handle: its socket, and the clients that have connected and were
/// not accepted yet.
class listener_core {
 public:
  listener_core(const std::string& text, listener_options options);
  ~listener_core() { close(); }
  listener_core(const listener_core&) = delete;
  listener_core& operator=(const listener_core&) = delete;

  std::optional<connection> accept_until(const deadline& until);
  void close() noexcept;

  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  [[nodiscard]] bool is_open() const noexcept {
    if (is_inherited()) {
      return false;
    }
    const mutex_guard lock{mutex_};
    return static_cast<bool>(listening_);
  }
  [[nodiscard]] int number() const {
    check_open();
    return watch_.number();
  }

 private:
  using clock = std::chrono::steady_clock;
  struct client {
    descriptor socket;
    handshake proof;
    clock::time_point until;
  };

  /// Called in a forked child, where its descriptors are closed or those of the parent, and its lock
  /// may be held by a thread that the child does not have.
  [[nodiscard]] bool is_inherited() const noexcept { return process_ != fork_generation(); }
  void check_options() const;
  void check_open() const {
    if (is_inherited()) {
      throw error{errc::wrong_state, task_ran::no,
                  "troupe: this listener belongs to the process that this one was forked from: make "
                  "one here, or accept there and send the connection"};
    }
    if (!is_open()) {
      fail_closed();
    }
  }
  [[noreturn]] static void fail_closed() {
    throw error{errc::closed, task_ran::no, "troupe: the listener is closed"};
  }
  /// These return the listening socket.
  descriptor listen_tcp();
  descriptor listen_unix();
  /// Throws error{resource_exhausted}.
  void add(int number) const;

  void look_at_the_door() TROUPE_REQUIRES(mutex_);
  /// Needs no descriptor.
  [[nodiscard]] bool is_somebody_at_the_door() const noexcept TROUPE_REQUIRES(mutex_);
  /// Drops the client that came first of those that have not proven their key. False: there is none.
  bool let_go_of_oldest(const char* why) TROUPE_REQUIRES(mutex_);
  void step_clients() TROUPE_REQUIRES(mutex_);
  void drop_late_clients(clock::time_point now) TROUPE_REQUIRES(mutex_);
  /// Nothing if the client is not ready.
  void step(std::list<client>::iterator which) TROUPE_REQUIRES(mutex_);
  void ring(bool on) const noexcept TROUPE_REQUIRES(mutex_);

  const listener_options options_;
  const sys::socket_address address_;
  std::string text_;
  descriptor watch_;  // an epoll: of the bell, the listening socket and the clients'
  descriptor bell_;   // readable while a client is ready, and for ever once closed
  std::optional<process_credentials> self_;  // when it began to listen; of a Unix socket
  const pid_t owner_ = ::getpid();
  const std::uint32_t process_;
  dev_t file_device_ = 0;
  ino_t file_inode_ = 0;

  mutable guarded_mutex mutex_;
  descriptor listening_ TROUPE_GUARDED_BY(mutex_);
  /// Not done with their proof, in the order they came.
  std::list<client> clients_ TROUPE_GUARDED_BY(mutex_);
  std::deque<connection> ready_ TROUPE_GUARDED_BY(mutex_);
  /// Each is one accept's authentication_error.
  std::deque<std::string> refused_ TROUPE_GUARDED_BY(mutex_);
};

}  // namespace troupe::detail
