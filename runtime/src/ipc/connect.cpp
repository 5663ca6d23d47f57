// SPDX-License-Identifier: BSD-3-Clause

// The side that connects to a listener.

#include "troupe/listener.hpp"

#include "ipc/handshake.hpp"
#include "ipc/peer_credentials.hpp"
#include "ipc/socket_address.hpp"
#include "ipc/stream_io.hpp"
#include "ipc/stream_socket.hpp"
#include "os/sys.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>

namespace troupe::detail {
namespace {

using clock = std::chrono::steady_clock;
using sys::raw_address;

void connect_socket(int socket, const raw_address& to, const std::string& text,
                    const deadline& until) {
  const auto fail = [&](int number) {
    sys::fail(errc::connect_failed, "troupe: cannot connect to '" + text + "'", number);
  };
  for (;;) {
    if (::connect(socket, to.get(), to.bytes) == 0 || errno == EISCONN) {
      return;
    }
    const int number = errno;
    if (number == EINPROGRESS || number == EALREADY ||
        (number == EINTR && to.family() != AF_UNIX)) {
      pollfd one{socket, POLLOUT, 0};
      if (sys::poll_until({&one, 1}, until) == 0) {
        throw timeout_error{"troupe: no connection to '" + text + "' in time", task_ran::no};
      }
      int result = 0;
      socklen_t bytes = sizeof result;
      ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &result, &bytes);
      if (result != 0) {
        fail(result);
      }
      return;
    }
    if (number == EAGAIN) {
      // The backlog of a Unix socket is full, and the kernel does not report when it has room.
      if (until && clock::now() >= *until) {
        throw timeout_error{"troupe: '" + text + "' did not accept in time", task_ran::no};
      }
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    } else if (number != EINTR) {
      fail(number);
    }
  }
}

void set_blocking(int socket) {
  ::fcntl(socket, F_SETFL, ::fcntl(socket, F_GETFL) & ~O_NONBLOCK);
}

}  // namespace
}  // namespace troupe::detail

namespace troupe {

connection connect(const std::string& address, connect_options options) {
  const sys::socket_address where = sys::parse_address(address);
  const bool local = where.kind != sys::socket_address::family::tcp;
  if (!local && !options.key) {
    throw std::invalid_argument{"troupe: connecting to '" + address +
                                "' needs a key: TCP does not tell whose process listens"};
  }
  const detail::deadline until = detail::deadline_after(options.timeout);
  std::optional<error> problem;
  for (const sys::raw_address& to : sys::look_up(where)) {
    detail::descriptor socket = detail::new_socket(to.family());
    std::optional<detail::process_credentials> self;
    if (local) {
      self = detail::own_credentials();
    }
    if (local && options.key) {
      detail::give_unique_name(socket.number());
    }
    try {
      detail::connect_socket(socket.number(), to, address, until);
    } catch (const error& e) {
      if (e.code() != errc::connect_failed) {
        throw;
      }
      problem = e;  // a name may stand for several machines
      continue;
    }
    if (local && !options.key && !detail::is_same_user(socket.number())) {
      throw authentication_error{"troupe: another user listens at '" + address + "'"};
    }
    detail::handshake proof{detail::handshake::side::client, options.key, self};
    for (;;) {
      switch (proof.step(socket.number())) {
        case detail::handshake::state::done:
          detail::set_blocking(socket.number());
          return detail::make_connection(std::move(socket), proof.take_stream(),
                                         options.max_message_bytes);
        case detail::handshake::state::refused:
          throw authentication_error{"troupe: '" + address + "': " + proof.why()};
        case detail::handshake::state::failed:
          throw error{errc::protocol_error, task_ran::no,
                      "troupe: '" + address + "': " + proof.why()};
        case detail::handshake::state::under_way:
          break;
      }
      pollfd one{socket.number(), POLLIN, 0};
      if (sys::poll_until({&one, 1}, until) == 0) {
        throw timeout_error{"troupe: the listener at '" + address + "' is silent", task_ran::no};
      }
    }
  }
  throw *problem;
}

}  // namespace troupe
