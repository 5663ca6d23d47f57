// SPDX-License-Identifier: BSD-3-Clause
#include "queue_socket.hpp"

#include "troupe/detail/descriptor_cargo.hpp"
#include "troupe/error.hpp"

#include "sys.hpp"

#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

namespace troupe::detail {

queue_socket::queue_socket() {
  descriptor made{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  sockaddr_un own{};
  own.sun_family = AF_UNIX;
  socklen_t bytes = sizeof(sa_family_t);  // only that: the kernel picks an abstract name
  const auto address = reinterpret_cast<sockaddr*>(&own);
  bool works = made && ::bind(made.number(), address, bytes) == 0;
  bytes = sizeof own;
  works = works && ::getsockname(made.number(), address, &bytes) == 0 &&
          ::connect(made.number(), address, bytes) == 0;
  if (!works) {
    sys::fail(errc::resource_exhausted, "no socket for a queue's handles can be made", errno);
  }
  const int most = 8 << 20;  // the kernel takes what it allows
  ::setsockopt(made.number(), SOL_SOCKET, SO_SNDBUF, &most, sizeof most);
  made.keep_in_children();
  socket_ = std::make_shared<descriptor_cargo>(new_cargo_id(), std::move(made));
}

queue_socket::queue_socket(std::shared_ptr<const cargo> from) : socket_{std::move(from)} {
  int type = 0;
  int domain = 0;
  socklen_t bytes = sizeof type;
  socklen_t more = sizeof domain;
  if (::getsockopt(socket_->number(), SOL_SOCKET, SO_TYPE, &type, &bytes) != 0 ||
      ::getsockopt(socket_->number(), SOL_SOCKET, SO_DOMAIN, &domain, &more) != 0 ||
      type != SOCK_DGRAM || domain != AF_UNIX) {
    throw error{errc::protocol_error, task_ran::maybe,
                "what arrived is not the socket of a queue that it is said to be"};
  }
  keep_in_children(*socket_);
}

void queue_socket::send(std::uint64_t ticket, const cargo_list& with) const {
  message_header what;
  what.ticket = ticket;
  what.count = with.size();
  std::vector<int> numbers;
  for (std::size_t i = 0; i < with.size(); ++i) {
    what.ids.at(i) = with[i]->id();
    numbers.push_back(with[i]->number());
  }
  send_numbers(what, numbers);
}

void queue_socket::send_numbers(const message_header& what, std::span<const int> numbers) const {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * most_descriptors)> control{};
  const std::size_t bytes = offsetof(message_header, ids) + what.count * sizeof(std::uint64_t);
  iovec part{const_cast<message_header*>(&what), bytes};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = CMSG_SPACE(numbers.size_bytes());
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(numbers.size_bytes());
  std::memcpy(CMSG_DATA(c), numbers.data(), numbers.size_bytes());
  while (::sendmsg(socket_->number(), &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
    if (errno != EINTR) {
      sys::fail(errc::resource_exhausted,
                "too many handles of shared objects wait in a queue already", errno);
    }
  }
}

bool queue_socket::receive(front& what, bool peek) const {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * most_descriptors)> control;
  what.descriptors.clear();
  iovec part{&what.header, sizeof what.header};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t count = 0;
  do {
    count = ::recvmsg(socket_->number(), &header,
                      MSG_DONTWAIT | MSG_CMSG_CLOEXEC | (peek ? MSG_PEEK : 0));
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    return false;
  }
  bool some_lost = (header.msg_flags & MSG_CTRUNC) != 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    const std::size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < n && c->cmsg_type == SCM_RIGHTS; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      some_lost |= !what.descriptors.emplace_back(number);
    }
  }
  if (some_lost) {
    throw error{errc::resource_exhausted, task_ran::no,
                "this process has no descriptors left for the handles in an item, which stays in "
                "the queue"};
  }
  what.good = static_cast<std::size_t>(count) >= offsetof(message_header, ids) &&
              what.header.count == what.descriptors.size() &&
              static_cast<std::size_t>(count) ==
                  offsetof(message_header, ids) + what.header.count * sizeof(std::uint64_t);
  return true;
}

void queue_socket::drop() const noexcept {
  std::byte nothing{};
  while (::recv(socket_->number(), &nothing, sizeof nothing, MSG_DONTWAIT) < 0 && errno == EINTR) {
  }
}

}  // namespace troupe::detail
