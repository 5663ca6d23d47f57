// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/connection.hpp"

#include "troupe/detail/type_name.hpp"

#include "connection_core.hpp"
#include "stream_io.hpp"
#include "sys.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace troupe {
namespace detail {
namespace {

// docs/protocol.md, "Connections". Then come the ids of `descriptors` objects, 8 bytes each, and
// the payload. Descriptors travel with the first byte of the ids' batches of `sys::max_rights`, the
// first batch's with the header.
struct frame_header {
  std::uint32_t magic = expected_magic;
  std::uint8_t content = 0;
  std::uint8_t zero = 0;
  std::uint16_t descriptors = 0;
  std::uint64_t bytes = 0;

  static constexpr std::uint32_t expected_magic = 0x31705254;  // "TRp1"
};
static_assert(sizeof(frame_header) == 16);

constexpr std::size_t most_descriptors = 0xffff;
// Memory that has to be filled with zeros first is filled in steps that stay in the cache.
constexpr std::size_t vector_step = std::size_t{1} << 18;

std::span<const std::byte> bytes_of(const frame_header& header) {
  return std::as_bytes(std::span{&header, 1});
}

const char* name_of(frame_content content) {
  switch (content) {
    case frame_content::value:
      return "a value, for recv";
    case frame_content::bytes:
      return "bytes, for recv_bytes";
    case frame_content::descriptor:
      return "a descriptor, for recv_descriptor";
  }
  return "unknown";
}

struct into_buffer {
  byte_buffer& to;
  [[nodiscard]] std::size_t step(std::size_t left) const { return left; }
  std::span<std::byte> extend(std::size_t bytes) { return {to.extend(bytes), bytes}; }
};

struct into_vector {
  std::vector<std::byte>& to;
  [[nodiscard]] std::size_t step(std::size_t left) const { return std::min(left, vector_step); }
  std::span<std::byte> extend(std::size_t bytes) {
    const std::size_t before = to.size();
    if (to.capacity() < before + bytes) {
      to.reserve(std::max(before + bytes, 4 * before));
    }
    to.resize(before + bytes);
    return {to.data() + before, bytes};
  }
};

struct into_span {
  std::span<std::byte> room;
  std::vector<std::byte> excess;  ///< the whole message, if it does not fit
  std::size_t bytes = 0;
  bool fits = true;
  [[nodiscard]] std::size_t step(std::size_t left) {
    if (bytes == 0 && left > room.size()) {
      fits = false;
    }
    return fits ? left : std::min(left, vector_step);
  }
  std::span<std::byte> extend(std::size_t count) {
    bytes += count;
    return fits ? room.subspan(bytes - count, count) : into_vector{excess}.extend(count);
  }
};

}  // namespace

void fail_to_decode(const std::type_info& type, std::size_t bytes, const error& why) {
  throw error{errc::argument_decode_failed, task_ran::no,
              "troupe: a message of " + std::to_string(bytes) + " bytes is no '" + type_name(type) +
                  "': " + why.what()};
}

std::shared_ptr<const cargo> connection_core::socket() const {
  const std::lock_guard lock{mutex_};
  if (!socket_) {
    throw error{errc::closed, task_ran::no, "troupe: the connection is closed"};
  }
  return socket_;
}

bool connection_core::is_open() const noexcept {
  const std::lock_guard lock{mutex_};
  return socket_ != nullptr;
}

void connection_core::close() noexcept {
  std::shared_ptr<const cargo> gone;
  const std::lock_guard lock{mutex_};
  gone.swap(socket_);
}

void connection_core::fail_sending(int error, bool begun) {
  if (begun) {
    // Half of a frame is on its way, so nothing behind it would make sense.
    close();
  }
  if (error == EPIPE || error == ECONNRESET || error == ENOTCONN) {
    throw broken_pipe{"troupe: the other end of the connection is closed: nobody will read this",
                      begun ? task_ran::maybe : task_ran::no};
  }
  if (error == ETOOMANYREFS || error == EMFILE || error == ENOBUFS || error == ENOMEM) {
    sys::fail(errc::resource_exhausted, "troupe: a message cannot be sent", error);
  }
  if (error == EBADF) {
    sys::fail(errc::argument_encode_failed,
              "troupe: what is to be sent with a message is no open descriptor", error);
  }
  close();
  sys::fail(errc::protocol_error, "troupe: sending failed, and the connection is closed", error);
}

void connection_core::fail_frame(const std::string& why) {
  close();
  throw error{errc::protocol_error, task_ran::maybe,
              "troupe: " + why + "; the connection is closed"};
}

void connection_core::fail_receiving(int error) {
  if (error == ECONNRESET) {
    fail_frame("the peer ended in the middle of a message");
  }
  close();
  sys::fail(errc::protocol_error, "troupe: receiving failed, and the connection is closed", error);
}

void connection_core::send(frame_content content, std::span<const std::byte> bytes,
                           const cargo_list& with) {
  if (!traits_.writable) {
    throw std::logic_error{"troupe: this end of the pipe only receives"};
  }
  if (bytes.size() > traits_.max_message_bytes) {
    throw error{errc::payload_too_large, task_ran::no,
                "troupe: a message of " + std::to_string(bytes.size()) +
                    " bytes is longer than the connection's max_message_bytes, " +
                    std::to_string(traits_.max_message_bytes)};
  }
  frame_header header;
  header.content = static_cast<std::uint8_t>(content);
  header.bytes = bytes.size();
  if (with.empty()) [[likely]] {
    const std::lock_guard turn{sending_};
    const auto socket = this->socket();
    const sys::io_result sent = sys::send_all(socket->number(), bytes_of(header), bytes, {});
    if (sent.error != 0) {
      fail_sending(sent.error, sent.bytes != 0);
    }
    return;
  }

  if (!traits_.local) {
    throw error{errc::argument_encode_failed, task_ran::no,
                "troupe: a descriptor or a handle of a shared object cannot cross over TCP"};
  }
  if (with.size() > most_descriptors) {
    throw error{errc::payload_too_large, task_ran::no,
                "troupe: " + std::to_string(with.size()) +
                    " shared objects in one message, the most are " +
                    std::to_string(most_descriptors)};
  }
  header.descriptors = static_cast<std::uint16_t>(with.size());
  std::vector<std::uint64_t> ids;
  std::vector<int> numbers;
  for (const auto& one : with) {
    ids.push_back(one->id());
    numbers.push_back(one->number());
  }
  const std::lock_guard turn{sending_};
  const auto socket = this->socket();
  for (std::size_t at = 0; at < with.size(); at += sys::max_rights) {
    const std::size_t count = std::min(sys::max_rights, with.size() - at);
    const auto batch = std::as_bytes(std::span{ids}.subspan(at, count));
    const sys::io_result sent = sys::send_all(socket->number(), at == 0 ? bytes_of(header) : batch,
                                              at == 0 ? batch : std::span<const std::byte>{},
                                              std::span{numbers}.subspan(at, count));
    if (sent.error != 0) {
      fail_sending(sent.error, at != 0 || sent.bytes != 0);
    }
  }
  const sys::io_result sent = sys::send_all(socket->number(), bytes, {}, {});
  if (sent.error != 0) {
    fail_sending(sent.error, true);
  }
}

template <class Sink>
void connection_core::receive(frame_content wanted, Sink& to, cargo_list& with) {
  if (!traits_.readable) {
    throw std::logic_error{"troupe: this end of the pipe only sends"};
  }
  const std::lock_guard turn{receiving_};
  const auto socket = this->socket();
  frame_header header;
  sys::arrived_descriptors arrived;
  const sys::io_result begin =
      sys::receive_all(socket->number(), std::as_writable_bytes(std::span{&header, 1}), arrived);
  if (begin.bytes == 0 && (begin.error == 0 || begin.error == ECONNRESET)) {
    throw end_of_stream{
        "troupe: the other end of the connection is closed, and all that it sent "
        "was received"};
  }
  const auto all = [&](const sys::io_result& part, std::size_t bytes) {
    if (part.error != 0) {
      fail_receiving(part.error);
    }
    if (part.bytes != bytes) {
      fail_frame("the stream ends in the middle of a message");
    }
  };
  all(begin, sizeof header);
  if (header.magic != frame_header::expected_magic || header.zero != 0 ||
      header.content < static_cast<std::uint8_t>(frame_content::value) ||
      header.content > static_cast<std::uint8_t>(frame_content::descriptor)) {
    fail_frame("something that is no message arrived");
  }
  const auto content = static_cast<frame_content>(header.content);
  if (header.bytes > traits_.max_message_bytes) {
    fail_frame("a message claims " + std::to_string(header.bytes) +
               " bytes, more than the connection's max_message_bytes, " +
               std::to_string(traits_.max_message_bytes));
  }
  if ((content == frame_content::descriptor && (header.descriptors > 1 || header.bytes != 0)) ||
      (content == frame_content::bytes && header.descriptors != 0) ||
      (!traits_.local && header.descriptors != 0)) {
    fail_frame("a message claims descriptors that it cannot have");
  }

  bool whole = false;
  try {
    std::vector<std::uint64_t> ids;
    // Batch by batch: what a header claims is not allocated before something of it has arrived.
    for (std::size_t at = 0; at < header.descriptors; at += sys::max_rights) {
      ids.resize(std::min<std::size_t>(header.descriptors, at + sys::max_rights));
      const auto part = std::as_writable_bytes(std::span{ids}.subspan(at));
      all(sys::receive_all(socket->number(), part, arrived), part.size());
    }
    if (arrived.all.size() > header.descriptors) {
      fail_frame("more descriptors came with a message than it has");
    }
    const bool expected = content == wanted;
    std::vector<std::byte> skipped;
    for (std::uint64_t left = header.bytes; left != 0;) {
      const std::size_t count =
          expected ? to.step(left) : std::min<std::uint64_t>(left, vector_step);
      std::span<std::byte> room;
      if (expected) {
        room = to.extend(count);
      } else {
        skipped.resize(count);
        room = skipped;
      }
      all(sys::receive_all(socket->number(), room), count);
      left -= count;
    }
    whole = true;
    if (arrived.some_lost) {
      throw error{errc::resource_exhausted, task_ran::no,
                  "troupe: this process has no descriptors left for what came with a message, "
                  "which is lost"};
    }
    if (!expected) {
      throw error{errc::argument_decode_failed, task_ran::no,
                  std::string{"troupe: what came is "} + name_of(content) + ", not " +
                      name_of(wanted) + "; it is lost"};
    }
    if (arrived.all.size() < header.descriptors) {
      fail_frame("a message came without its descriptors");
    }
    for (std::size_t i = 0; i < ids.size(); ++i) {
      with.push_back(std::make_shared<descriptor_cargo>(ids[i], std::move(arrived.all[i])));
    }
  } catch (...) {
    if (!whole) {
      close();  // no memory, and the rest of the message is still in the socket
    }
    throw;
  }
}

bool connection_core::poll(const deadline& until) {
  if (!traits_.readable) {
    throw std::logic_error{"troupe: this end of the pipe only sends"};
  }
  const auto socket = this->socket();
  pollfd one{socket->number(), POLLIN, 0};
  return sys::poll_until({&one, 1}, until) > 0;
}

}  // namespace detail

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
  core().send(frame_content::value, what.bytes.bytes(), what.cargo);
}

void connection::receive_message(detail::message& what) {
  detail::into_buffer sink{what.bytes};
  core().receive(frame_content::value, sink, what.cargo);
}

void connection::send_bytes(std::span<const std::byte> bytes) {
  core().send(frame_content::bytes, bytes, {});
}

std::vector<std::byte> connection::recv_bytes() {
  std::vector<std::byte> all;
  detail::into_vector sink{all};
  detail::cargo_list none;
  core().receive(frame_content::bytes, sink, none);
  return all;
}

std::size_t connection::recv_bytes_into(std::span<std::byte> room) {
  detail::into_span sink{room, {}};
  detail::cargo_list none;
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
  // A number of its own, so that it is valid whatever happens to the caller's meanwhile.
  descriptor own{::fcntl(number, F_DUPFD_CLOEXEC, 0)};
  if (!own) {
    sys::fail(errno == EBADF ? errc::argument_encode_failed : errc::resource_exhausted,
              "troupe: descriptor " + std::to_string(number) + " cannot be sent", errno);
  }
  core().send(frame_content::descriptor, {},
              {std::make_shared<detail::descriptor_cargo>(0, std::move(own))});
}

int connection::recv_descriptor() {
  detail::message what;
  detail::into_buffer sink{what.bytes};
  core().receive(frame_content::descriptor, sink, what.cargo);
  if (what.cargo.empty()) {
    throw error{errc::argument_decode_failed, task_ran::no,
                "troupe: a message that should have a descriptor has none"};
  }
  const int number = ::fcntl(what.cargo.front()->number(), F_DUPFD_CLOEXEC, 0);
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
  // A descriptor of its own: this end may be closed before what it is part of was sent.
  descriptor own{::fcntl(core().socket()->number(), F_DUPFD_CLOEXEC, 0)};
  if (!own) {
    sys::fail(errc::resource_exhausted, "troupe: no descriptor left for a connection to send",
              errno);
  }
  detail::save_cargo(
      ar, std::make_shared<detail::descriptor_cargo>(detail::new_cargo_id(), std::move(own)));
  const detail::connection_traits& traits = core_->traits();
  const auto directions =
      static_cast<std::uint8_t>((traits.readable ? 1 : 0) | (traits.writable ? 2 : 0));
  ar.write(&directions, sizeof directions);
  ar.write(&traits.max_message_bytes, sizeof traits.max_message_bytes);
}

void connection::load(input_archive& ar) {
  auto socket = detail::load_cargo(ar);
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
  if (!is_stream || directions == 0 || directions > 3) {
    ar.fail("what came with these bytes is no end of a connection", typeid(connection));
  }
  traits.readable = (directions & 1) != 0;
  traits.writable = (directions & 2) != 0;
  traits.local = domain == AF_UNIX;
  core_ = std::make_shared<connection_core>(std::move(socket), traits);
}

std::pair<connection, connection> pipe(pipe_options options) {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    sys::fail(errc::resource_exhausted, "troupe: no pipe can be made", errno);
  }
  descriptor first{ends[0]};
  descriptor second{ends[1]};
  detail::connection_traits left;
  left.max_message_bytes = options.max_message_bytes;
  detail::connection_traits right = left;
  if (!options.duplex) {
    // Sockets all the same, because descriptors cross through nothing else.
    ::shutdown(ends[0], SHUT_WR);
    left.writable = false;
    right.readable = false;
  }
  return {detail::connection_access::make(std::move(first), left),
          detail::connection_access::make(std::move(second), right)};
}

}  // namespace troupe
