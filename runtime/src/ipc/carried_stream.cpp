// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/carried_stream.hpp"

#include "troupe/error.hpp"

#include "ipc/frame.hpp"
#include "ipc/secure_stream.hpp"
#include "ipc/stream_io.hpp"
#include "os/library_thread.hpp"
#include "os/sys.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

constexpr std::size_t step = std::size_t{1} << 16;

/// Whether a stream stands between two messages.
class frame_position {
 public:
  void pass(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const bool in_header = header_bytes_ < sizeof header_;
      const auto count =
          std::min<std::uint64_t>(bytes.size(), in_header ? sizeof header_ - header_bytes_ : left_);
      if (in_header) {
        std::memcpy(reinterpret_cast<std::byte*>(&header_) + header_bytes_, bytes.data(), count);
        header_bytes_ += count;
        left_ = header_bytes_ == sizeof header_ ? header_.bytes : 0;
      } else {
        left_ -= count;
      }
      if (header_bytes_ == sizeof header_ && left_ == 0) {
        header_bytes_ = 0;
      }
      bytes = bytes.subspan(count);
    }
  }
  [[nodiscard]] bool is_between() const noexcept { return header_bytes_ == 0; }

 private:
  frame_header header_;
  std::size_t header_bytes_ = 0;
  std::uint64_t left_ = 0;  // of the payload
};

struct carrier {
  std::shared_ptr<secure_stream> outside;
  descriptor inside;

  /// From the processes that have the other end to the peer. Message by message: a record must not
  /// have the end of one and the begin of another one.
  void carry_out() {
    frame_header header;
    std::vector<std::byte> bytes(step);
    bool is_whole = true;
    for (;;) {
      const sys::io_result begin =
          sys::receive_all(inside.number(), std::as_writable_bytes(std::span{&header, 1}));
      is_whole = begin.bytes == 0;
      if (begin.bytes != sizeof header) {
        break;
      }
      std::span<const std::byte> before = bytes_of(header);
      std::uint64_t left = header.bytes;
      do {
        const auto part = std::span{bytes}.first(std::min<std::uint64_t>(left, step));
        is_whole = sys::receive_all(inside.number(), part).bytes == part.size() &&
                   outside->send_all(before, part).error == 0;
        before = {};
        left -= part.size();
      } while (is_whole && left != 0);
      if (!is_whole) {
        break;
      }
    }
    ::shutdown(inside.number(), SHUT_RDWR);
    if (is_whole) {
      outside->say_farewell();
    }
    outside->cut();
  }

  /// The other way.
  void carry_in() {
    std::vector<std::byte> bytes(step);
    frame_position position;
    sys::io_result came;
    do {
      came = outside->receive_some(bytes);
      const auto part = std::span{bytes}.first(came.bytes);
      if (sys::send_all(inside.number(), part, {}, {}).error != 0) {
        break;
      }
      position.pass(part);
    } while (came.bytes != 0);
    if (came.error != 0 && position.is_between()) {
      // The end is not the peer's: half of a header says so.
      const std::array<std::byte, 1> half{};
      static_cast<void>(sys::send_all(inside.number(), half, {}, {}));
    }
    ::shutdown(inside.number(), SHUT_RDWR);
  }
};

}  // namespace

descriptor carry(std::shared_ptr<secure_stream> stream) {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    sys::fail(errc::resource_exhausted, "troupe: a connection cannot be handed over", errno);
  }
  descriptor here{ends[0]};
  descriptor there{ends[1]};
  if (!here || !there) {
    sys::fail(errc::resource_exhausted, "troupe: a connection cannot be handed over", errno);
  }
  const auto all = std::make_shared<carrier>(std::move(stream), std::move(here));
  try {
    start_thread("troupe-tls-out", [all] { all->carry_out(); });
    start_thread("troupe-tls-in", [all] { all->carry_in(); });
  } catch (const std::system_error& none) {
    // A thread that has started ends with the socket.
    sys::fail(errc::resource_exhausted, "troupe: a connection cannot be handed over",
              none.code().value());
  }
  return there;
}

}  // namespace troupe::detail
