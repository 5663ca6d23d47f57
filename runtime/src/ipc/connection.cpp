// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/connection.hpp"

#include "troupe/detail/type_name.hpp"

#include "ipc/connection_core.hpp"
#include "ipc/message_sinks.hpp"
#include "os/sys.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

namespace troupe {

void detail::fail_to_decode(const std::type_info& type, std::size_t bytes, const error& why) {
  throw error{errc::argument_decode_failed, task_ran::no,
              "troupe: a message of " + std::to_string(bytes) + " bytes is no '" + type_name(type) +
                  "': " + why.what()};
}

using detail::connection_core;
using detail::descriptor;
using detail::frame_content;

buffer_too_short::buffer_too_short(const std::string& text, std::vector<std::byte> message)
    : error{errc::buffer_too_short, task_ran::no, text},
      message_{std::make_shared<const std::vector<std::byte>>(std::move(message))} {}
buffer_too_short::~buffer_too_short() = default;

connection_core& connection::core() const {
  if (!core_) {
    throw error{errc::closed, task_ran::no, "troupe: this connection is connected to nothing"};
  }
  return *core_;
}

void connection::send_message(const detail::message& what) {
  core().send(frame_content::value, what.bytes.bytes(), what.attachments);
}

void connection::receive_message(detail::message& what) {
  detail::into_buffer sink{what.bytes};
  core().receive(frame_content::value, sink, what.attachments);
}

void connection::send_bytes(std::span<const std::byte> bytes) {
  core().send(frame_content::bytes, bytes, {});
}

std::vector<std::byte> connection::recv_bytes() {
  std::vector<std::byte> all;
  detail::into_vector sink{all};
  detail::attachment_list none;
  core().receive(frame_content::bytes, sink, none);
  return all;
}

std::size_t connection::recv_bytes_into(std::span<std::byte> room) {
  detail::into_span sink{room, {}};
  detail::attachment_list none;
  core().receive(frame_content::bytes, sink, none);
  if (!sink.fits) {
    throw buffer_too_short{"troupe: a message of " + std::to_string(sink.bytes) +
                               " bytes does not fit into the " + std::to_string(room.size()) +
                               " that there is room for; the error has it",
                           std::move(sink.excess)};
  }
  return sink.bytes;
}

void connection::send_descriptor(int number) {
  // Duplicated, so that it stays valid if the caller closes its own descriptor meanwhile.
  descriptor own{::fcntl(number, F_DUPFD_CLOEXEC, detail::first_own_number)};
  if (!own) {
    sys::fail(errno == EBADF ? errc::argument_encode_failed : errc::resource_exhausted,
              "troupe: descriptor " + std::to_string(number) + " cannot be sent", errno);
  }
  core().send(frame_content::descriptor, {},
              {std::make_shared<detail::descriptor_attachment>(0, std::move(own))});
}

int connection::recv_descriptor() {
  detail::message what;
  detail::into_buffer sink{what.bytes};
  core().receive(frame_content::descriptor, sink, what.attachments);
  if (what.attachments.empty()) {
    throw error{errc::argument_decode_failed, task_ran::no,
                "troupe: a message that should have a descriptor has none"};
  }
  // The caller owns it from here on. Its number is above those of the standard streams, also in a
  // program that has closed one of these.
  const int number =
      ::fcntl(what.attachments.front()->number(), F_DUPFD_CLOEXEC, detail::first_own_number);
  if (number < 0) {
    sys::fail(errc::resource_exhausted, "troupe: no descriptor left for one that came", errno);
  }
  return number;
}

bool connection::poll_until(const detail::deadline& until) {
  return core().poll(until);
}

int connection::native_handle() const {
  return core().socket()->number();
}

bool connection::is_open() const noexcept {
  return core_ && core_->is_open();
}

bool connection::readable() const noexcept {
  return is_open() && core_->traits().readable;
}

bool connection::writable() const noexcept {
  return is_open() && core_->traits().writable;
}

void connection::close() noexcept {
  if (core_) {
    core_->close();
  }
}

void connection::save(output_archive& ar) const {
  // The socket stays open until it was sent, also if this end is closed before.
  detail::save_attachment(ar, core().socket_for_others());
  const detail::connection_traits& traits = core_->traits();
  const auto directions = static_cast<std::uint8_t>(
      (traits.readable ? 1 : 0) | (traits.writable ? 2 : 0) | (traits.local ? 0 : 4));
  ar.write(&directions, sizeof directions);
  ar.write(&traits.max_message_bytes, sizeof traits.max_message_bytes);
}

void connection::load(input_archive& ar) {
  auto socket = detail::load_attachment(ar);
  std::uint8_t directions = 0;
  detail::connection_traits traits;
  ar.read(&directions, sizeof directions, typeid(connection));
  ar.read(&traits.max_message_bytes, sizeof traits.max_message_bytes, typeid(connection));
  int type = 0;
  int domain = 0;
  socklen_t bytes = sizeof type;
  const bool is_stream = ::getsockopt(socket->number(), SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 &&
                         ::getsockopt(socket->number(), SOL_SOCKET, SO_DOMAIN, &domain,
                                      &(bytes = sizeof domain)) == 0 &&
                         type == SOCK_STREAM;
  if (!is_stream || (directions & 3) == 0 || directions > 7) {
    ar.fail("what came with these bytes is no end of a connection", typeid(connection));
  }
  traits.readable = (directions & 1) != 0;
  traits.writable = (directions & 2) != 0;
  traits.local = domain == AF_UNIX && (directions & 4) == 0;
  core_ = std::make_shared<connection_core>(
      detail::transport{.socket = std::move(socket), .secure = nullptr}, traits);
}

std::pair<connection, connection> pipe(pipe_options options) {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    sys::fail(errc::resource_exhausted, "troupe: no pipe can be made", errno);
  }
  descriptor first{ends[0]};
  descriptor second{ends[1]};
  if (!first || !second) {
    sys::fail(errc::resource_exhausted, "troupe: no pipe can be made", errno);
  }
  detail::connection_traits left;
  left.max_message_bytes = options.max_message_bytes;
  detail::connection_traits right = left;
  if (!options.duplex) {
    // Sockets all the same, because descriptors cross through nothing else.
    ::shutdown(first.number(), SHUT_WR);
    left.writable = false;
    right.readable = false;
  }
  return {detail::connection_access::make(std::move(first), left),
          detail::connection_access::make(std::move(second), right)};
}

}  // namespace troupe
