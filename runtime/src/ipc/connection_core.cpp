// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/connection_core.hpp"

#include "ipc/carried_stream.hpp"
#include "ipc/frame.hpp"
#include "ipc/message_sinks.hpp"
#include "ipc/stream_io.hpp"
#include "os/shortage.hpp"
#include "os/sys.hpp"

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <utility>

namespace troupe::detail {
namespace {

constexpr std::size_t most_descriptors = 0xffff;

bool is_shortage(int error) {
  return error == ETOOMANYREFS || error == EMFILE || error == ENFILE || error == ENOBUFS ||
         error == ENOMEM;
}

sys::io_result send_through(const transport& to, std::span<const std::byte> first,
                            std::span<const std::byte> second) {
  return to.secure ? to.secure->send_all(first, second)
                   : sys::send_all(to.socket->number(), first, second, {});
}

sys::io_result receive_through(const transport& from, std::span<std::byte> to) {
  return from.secure ? from.secure->receive_all(to) : sys::receive_all(from.socket->number(), to);
}

sys::io_result receive_through(const transport& from, std::span<std::byte> to,
                               sys::arrived_descriptors& descriptors) {
  return from.secure ? from.secure->receive_all(to)
                     : sys::receive_all(from.socket->number(), to, descriptors);
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

}  // namespace

void connection_core::check_not_inherited() const {
  if (is_inherited()) {
    throw error{errc::closed, task_ran::no,
                "troupe: this connection belongs to the process that this one was forked from: "
                "hand it over as an argument"};
  }
}

transport connection_core::through() const {
  check_not_inherited();
  const mutex_guard lock{mutex_};
  if (!through_.socket) {
    throw error{errc::closed, task_ran::no, "troupe: the connection is closed"};
  }
  if (through_.secure && !through_.secure->is_ours()) {
    throw error{errc::closed, task_ran::no,
                "troupe: the keys of this connection are in the process that this one was forked "
                "from: hand it over as an argument"};
  }
  return through_;
}

std::shared_ptr<const attachment> connection_core::socket_for_others() {
  if (const transport now = through(); !now.secure) {
    return now.socket;
  }
  mutex_lock receiving{receiving_, std::defer_lock};
  if (!receiving.try_lock()) {
    throw error{errc::argument_encode_failed, task_ran::no,
                "troupe: a connection over TCP cannot be handed over while a thread receives from "
                "it"};
  }
  const mutex_guard sending{sending_};
  const transport now = through();
  if (!now.secure) {
    return now.socket;  // another thread was faster
  }
  const auto others =
      std::make_shared<descriptor_attachment>(new_attachment_id(), carry(now.secure));
  const mutex_guard lock{mutex_};
  if (through_.socket) {
    through_ = {.socket = others, .secure = nullptr};
  }
  return others;
}

bool connection_core::is_open() const noexcept {
  if (is_inherited()) {
    return false;
  }
  const mutex_guard lock{mutex_};
  return through_.socket != nullptr;
}

void connection_core::close() noexcept {
  if (is_inherited()) {
    return;  // it was closed already
  }
  transport gone;
  const mutex_guard lock{mutex_};
  std::swap(gone, through_);
}

void connection_core::fail_sending(int error, bool begun) {
  if (begun) {
    // Half of a frame was sent, so the receiver could not tell where the next one begins.
    close();
  }
  if (error == EPIPE || error == ECONNRESET || error == ENOTCONN) {
    throw broken_pipe{
        "troupe: the other end of the connection is closed: no process will read this",
        begun ? task_ran::maybe : task_ran::no};
  }
  if (is_shortage(error)) {
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
  if (error == ECONNABORTED) {
    fail_frame(
        "the stream has ended, and the peer did not say so: its process was killed, or something "
        "cut it off");
  }
  if (error == EBADMSG) {
    fail_frame("something arrived that the peer did not send");
  }
  close();
  sys::fail(errc::protocol_error, "troupe: receiving failed, and the connection is closed", error);
}

void connection_core::send(frame_content content, std::span<const std::byte> bytes,
                           const attachment_list& with) {
  if (!traits_.writable) {
    throw std::logic_error{"troupe: this end of the pipe only receives"};
  }
  check_not_inherited();
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
    const mutex_guard turn{sending_};
    const sys::io_result sent = send_through(through(), bytes_of(header), bytes);
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
  const mutex_guard turn{sending_};
  const auto socket = this->socket();
  int short_of = 0;
  for (std::size_t at = 0; at < with.size(); at += sys::max_rights) {
    const std::size_t count = std::min(sys::max_rights, with.size() - at);
    const auto batch = std::as_bytes(std::span{ids}.subspan(at, count));
    const auto send_batch = [&](std::span<const int> descriptors) {
      return sys::send_all(socket->number(), at == 0 ? bytes_of(header) : batch,
                           at == 0 ? batch : std::span<const std::byte>{}, descriptors);
    };
    sys::io_result sent;
    if (short_of == 0) {
      sent = send_batch(std::span{numbers}.subspan(at, count));
      if (at != 0 && sent.bytes == 0 && is_shortage(sent.error)) {
        // The message has begun: its rest goes without descriptors, so that the receiver drops it
        // as a whole and finds the next one.
        short_of = sent.error;
      }
    }
    if (short_of != 0) {
      sent = send_batch({});
    }
    if (sent.error != 0) {
      fail_sending(sent.error, at != 0 || sent.bytes != 0);
    }
  }
  const sys::io_result sent = sys::send_all(socket->number(), bytes, {}, {});
  if (sent.error != 0) {
    fail_sending(sent.error, true);
  }
  if (short_of != 0) {
    sys::fail(errc::resource_exhausted, "troupe: a message cannot be sent", short_of);
  }
}

template <class Sink>
void connection_core::receive(frame_content wanted, Sink& to, attachment_list& with) {
  if (!traits_.readable) {
    throw std::logic_error{"troupe: this end of the pipe only sends"};
  }
  check_not_inherited();
  const mutex_guard turn{receiving_};
  const transport from = through();
  frame_header header;
  sys::arrived_descriptors arrived;
  const sys::io_result begin =
      receive_through(from, std::as_writable_bytes(std::span{&header, 1}), arrived);
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
      all(receive_through(from, part, arrived), part.size());
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
      all(receive_through(from, room), count);
      left -= count;
    }
    if (from.secure && from.secure->has_rest()) {
      // Whoever waits for the socket to be readable would not be told of what is behind it.
      fail_frame("more than one message came in a record");
    }
    whole = true;
    if (arrived.some_lost) {
      throw shortage(
          "troupe: a message is lost, as there are no descriptors left for what came "
          "with it",
          EMFILE);
    }
    if (!expected) {
      throw error{errc::argument_decode_failed, task_ran::no,
                  std::string{"troupe: what came is "} + name_of(content) + ", not " +
                      name_of(wanted) + "; it is lost"};
    }
    if (arrived.all.size() < header.descriptors) {
      throw error{errc::resource_exhausted, task_ran::no,
                  "troupe: a message is lost, as its sender could not send all of its descriptors"};
    }
    for (std::size_t i = 0; i < ids.size(); ++i) {
      with.push_back(std::make_shared<descriptor_attachment>(ids[i], std::move(arrived.all[i])));
    }
  } catch (...) {
    if (!whole) {
      close();  // no memory, and the rest of the message is still in the socket
    }
    throw;
  }
}

template void connection_core::receive(frame_content wanted, into_buffer& to,
                                       attachment_list& with);
template void connection_core::receive(frame_content wanted, into_vector& to,
                                       attachment_list& with);
template void connection_core::receive(frame_content wanted, into_span& to, attachment_list& with);

bool connection_core::poll(const deadline& until) {
  if (!traits_.readable) {
    throw std::logic_error{"troupe: this end of the pipe only sends"};
  }
  const transport from = through();
  if (from.secure) {
    return from.secure->poll(until);
  }
  pollfd one{from.socket->number(), POLLIN, 0};
  return sys::poll_until({&one, 1}, until) > 0;
}

}  // namespace troupe::detail
