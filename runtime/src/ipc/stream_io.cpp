// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/stream_io.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>

namespace troupe::sys {
namespace {

// A descriptor that came from elsewhere may be non-blocking, which is not ours to change.
int wait_for(int socket, short events) noexcept {
  pollfd one{socket, events, 0};
  const int ready = poll_until({&one, 1}, std::nullopt);
  return ready < 0 ? -ready : 0;
}

}  // namespace

io_result send_all(int socket, std::span<const std::byte> first, std::span<const std::byte> second,
                   std::span<const int> descriptors) noexcept {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * max_rights)> control;
  std::array<iovec, 2> parts{iovec{const_cast<std::byte*>(first.data()), first.size()},
                             iovec{const_cast<std::byte*>(second.data()), second.size()}};
  msghdr header{};
  header.msg_iov = parts.data();
  header.msg_iovlen = parts.size();
  if (!descriptors.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    std::memset(control.data(), 0, header.msg_controllen);
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(c), descriptors.data(), descriptors.size_bytes());
  }
  io_result result;
  const std::size_t total = first.size() + second.size();
  while (result.bytes < total) {
    const ssize_t count = ::sendmsg(socket, &header, MSG_NOSIGNAL);
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      result.error = errno == EAGAIN || errno == EWOULDBLOCK ? wait_for(socket, POLLOUT) : errno;
      if (result.error != 0) {
        return result;
      }
      continue;
    }
    // The descriptors went with the first byte.
    header.msg_control = nullptr;
    header.msg_controllen = 0;
    result.bytes += static_cast<std::size_t>(count);
    auto left = static_cast<std::size_t>(count);
    for (iovec& part : parts) {
      const std::size_t taken = std::min(left, part.iov_len);
      part.iov_base = static_cast<std::byte*>(part.iov_base) + taken;
      part.iov_len -= taken;
      left -= taken;
    }
  }
  return result;
}

io_result receive_all(int socket, std::span<std::byte> to) noexcept {
  io_result result;
  while (result.bytes < to.size()) {
    const ssize_t count =
        ::recv(socket, to.data() + result.bytes, to.size() - result.bytes, MSG_WAITALL);
    if (count == 0) {
      return result;
    }
    if (count > 0) {
      result.bytes += static_cast<std::size_t>(count);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      result.error = wait_for(socket, POLLIN);
    } else if (errno != EINTR) {
      result.error = errno;
    }
    if (result.error != 0) {
      return result;
    }
  }
  return result;
}

io_result receive_all(int socket, std::span<std::byte> to, arrived_descriptors& descriptors) {
  io_result result;
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * max_rights)> control;
  while (result.bytes < to.size()) {
    iovec part{to.data() + result.bytes, to.size() - result.bytes};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t count = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      result.error = errno == EAGAIN || errno == EWOULDBLOCK ? wait_for(socket, POLLIN) : errno;
      if (result.error != 0) {
        return result;
      }
      continue;
    }
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
        continue;
      }
      const std::size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < n; ++i) {
        int number = -1;
        std::memcpy(&number, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
        descriptors.some_lost |= !descriptors.all.emplace_back(number);
      }
    }
    descriptors.some_lost |= (header.msg_flags & MSG_CTRUNC) != 0;
    if (count == 0) {
      return result;
    }
    result.bytes += static_cast<std::size_t>(count);
  }
  return result;
}

int poll_until(std::span<pollfd> set, const detail::deadline& until) noexcept {
  using namespace std::chrono;
  for (;;) {
    timespec left{};
    if (until) {
      const auto ns =
          std::max(nanoseconds{0}, duration_cast<nanoseconds>(*until - steady_clock::now()));
      left.tv_sec = static_cast<time_t>(ns.count() / 1'000'000'000);
      left.tv_nsec = static_cast<long>(ns.count() % 1'000'000'000);
    }
    const int ready = ::ppoll(set.data(), set.size(), until ? &left : nullptr, nullptr);
    if (ready >= 0) {
      return ready;
    }
    if (errno != EINTR) {
      return -errno;
    }
  }
}

}  // namespace troupe::sys
