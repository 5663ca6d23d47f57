// SPDX-License-Identifier: BSD-3-Clause
#include "trees/service/service_line.hpp"

#include "os/descriptor_attachment.hpp"
#include "os/shortage.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace troupe::detail {

void service_line::say(line_kind what, std::string_view text, bool wait) const noexcept {
  if (!end_) {
    return;
  }
  text = text.substr(0, max_line_text);
  std::array<char, sizeof(line_header) + max_line_text> bytes;
  const line_header header{what, static_cast<std::uint32_t>(text.size())};
  std::memcpy(bytes.data(), &header, sizeof header);
  text.copy(bytes.data() + sizeof header, text.size());
  const int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
  while (::send(end_->number(), bytes.data(), sizeof header + text.size(), flags) < 0 &&
         errno == EINTR) {
  }
}

bool service_line::hears_stop() const noexcept {
  line_header header;
  ssize_t size = 0;
  do {
    size = ::recv(number(), &header, sizeof header, MSG_DONTWAIT);
  } while (size < 0 && errno == EINTR);
  return size == 0 || (size == sizeof header && header.kind == line_kind::stop);
}

bool say_stop(const descriptor& end) noexcept {
  const line_header header{line_kind::stop, 0};
  return ::send(end.number(), &header, sizeof header, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof header;
}

std::pair<descriptor, service_line> make_service_line() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    throw shortage("troupe: no line to a supervised process", errno);
  }
  descriptor ours{ends[0]};
  descriptor theirs{ends[1]};
  if (!ours || !theirs) {
    throw shortage("troupe: no line to a supervised process", errno);
  }
  return {std::move(ours), service_line{std::make_shared<const descriptor_attachment>(
                               new_attachment_id(), std::move(theirs))}};
}

void read_service_line(const descriptor& end,
                       const std::function<void(line_kind, const std::string&)>& said) {
  std::array<char, sizeof(line_header) + max_line_text> bytes;
  for (;;) {
    const ssize_t size = ::recv(end.number(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (size < 0 && errno == EINTR) {
      continue;
    }
    if (size <= 0) {
      return;
    }
    line_header header;
    if (static_cast<std::size_t>(size) < sizeof header) {
      continue;
    }
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.text_bytes != static_cast<std::size_t>(size) - sizeof header ||
        header.kind < line_kind::ready || header.kind > line_kind::probe_failed) {
      continue;
    }
    said(header.kind, std::string{bytes.data() + sizeof header, header.text_bytes});
  }
}

}  // namespace troupe::detail
