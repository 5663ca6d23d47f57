// SPDX-License-Identifier: BSD-3-Clause
#include "shared/queue/queue_socket.hpp"

#include "troupe/error.hpp"

#include "os/descriptor_attachment.hpp"
#include "os/shortage.hpp"
#include "os/sys.hpp"

#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <algorithm>
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
  socket_ = std::make_shared<descriptor_attachment>(new_attachment_id(), std::move(made));
}

queue_socket::queue_socket(std::shared_ptr<const attachment> from) : socket_{std::move(from)} {
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

void queue_socket::send(const id_list& ids, const std::vector<int>& numbers) const {
  message_header what;
  what.count = ids.size();
  std::copy(ids.begin(), ids.end(), what.ids.begin());
  const std::size_t descriptor_bytes = numbers.size() * sizeof(int);
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * most_descriptors)> control{};
  iovec part{&what, offsetof(message_header, ids) + ids.size() * sizeof(std::uint64_t)};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = CMSG_SPACE(descriptor_bytes);
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(descriptor_bytes);
  std::memcpy(CMSG_DATA(c), numbers.data(), descriptor_bytes);
  while (::sendmsg(socket_->number(), &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
    if (errno != EINTR) {
      sys::fail(errc::resource_exhausted,
                "troupe: too many shared objects wait in queues already, each as a descriptor",
                errno);
    }
  }
}

void queue_socket::look_from(std::size_t offset) const {
  const auto from = static_cast<int>(offset);
  if (::setsockopt(socket_->number(), SOL_SOCKET, SO_PEEK_OFF, &from, sizeof from) != 0) {
    sys::fail(errc::resource_exhausted, "troupe: the handles in a queue cannot be looked at",
              errno);
  }
}

bool queue_socket::peek(id_list& ids, std::size_t& bytes) const {
  // Without room for descriptors the kernel makes none; the next call sees the next message.
  message_header what;
  ssize_t count = 0;
  do {
    count = ::recv(socket_->number(), &what, sizeof what, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC);
  } while (count < 0 && errno == EINTR);
  ids.clear();
  if (count < 0) {
    return false;
  }
  bytes = static_cast<std::size_t>(count);
  if (bytes >= offsetof(message_header, ids) && what.count <= most_descriptors &&
      bytes == offsetof(message_header, ids) + what.count * sizeof(std::uint64_t)) {
    ids.assign(what.ids.begin(), what.ids.begin() + static_cast<std::ptrdiff_t>(what.count));
  }
  return true;
}

bool queue_socket::peek(id_list& ids, std::vector<descriptor>& descriptors) const {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * most_descriptors)> control;
  message_header what;
  descriptors.clear();
  ids.clear();
  iovec part{&what, sizeof what};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t count = 0;
  do {
    count = ::recvmsg(socket_->number(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_PEEK);
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
      some_lost |= !descriptors.emplace_back(number);
    }
  }
  if (some_lost) {
    throw shortage(
        "troupe: there are no descriptors left for the handles in an item, which stays in the "
        "queue",
        EMFILE);
  }
  if (static_cast<std::size_t>(count) >= offsetof(message_header, ids) &&
      what.count == descriptors.size() &&
      static_cast<std::size_t>(count) ==
          offsetof(message_header, ids) + what.count * sizeof(std::uint64_t)) {
    ids.assign(what.ids.begin(), what.ids.begin() + static_cast<std::ptrdiff_t>(what.count));
  }
  return true;
}

std::optional<attachment_list> queue_socket::find(id_list wanted) const {
  attachment_list found;
  id_list ids;
  std::size_t offset = 0;
  bool at_offset = false;
  while (!wanted.empty()) {
    if (!at_offset) {
      look_from(offset);
      at_offset = true;
    }
    std::size_t bytes = 0;
    if (!peek(ids, bytes)) {
      return std::nullopt;
    }
    const bool has_some = std::any_of(ids.begin(), ids.end(), [&](std::uint64_t id) {
      return std::find(wanted.begin(), wanted.end(), id) != wanted.end();
    });
    if (has_some) {
      std::vector<descriptor> descriptors;
      look_from(offset);
      at_offset = false;
      if (!peek(ids, descriptors)) {
        return std::nullopt;
      }
      for (std::size_t i = 0; i < ids.size(); ++i) {
        if (std::erase(wanted, ids[i]) != 0) {
          found.push_back(
              std::make_shared<const descriptor_attachment>(ids[i], std::move(descriptors[i])));
        }
      }
    }
    offset += bytes;
  }
  return found;
}

std::optional<queue_socket::id_list> queue_socket::front() const {
  id_list ids;
  std::size_t bytes = 0;
  look_from(0);
  if (!peek(ids, bytes)) {
    return std::nullopt;
  }
  return ids;
}

std::size_t queue_socket::count() const {
  std::size_t all = 0;
  id_list ids;
  look_from(0);
  for (std::size_t bytes = 0; peek(ids, bytes);) {
    all += ids.size();
  }
  return all;
}

void queue_socket::drop() const noexcept {
  std::byte nothing{};
  while (::recv(socket_->number(), &nothing, sizeof nothing, MSG_DONTWAIT) < 0 && errno == EINTR) {
  }
}

}  // namespace troupe::detail
