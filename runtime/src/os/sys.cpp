// SPDX-License-Identifier: BSD-3-Clause
#include "os/sys.hpp"

#include "os/failpoint.hpp"
#include "os/shortage.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <sstream>

namespace troupe::sys {

void fail(errc code, const std::string& what, int number) {
  throw error{code, task_ran::no, what + ": " + detail::shortage_text(number)};
}

std::pair<descriptor, descriptor> socket_pair() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    fail(errc::resource_exhausted, "cannot create the socket pair of a worker's channel", errno);
  }
  std::pair<descriptor, descriptor> made{ends[0], ends[1]};
  if (!made.first || !made.second) {
    fail(errc::resource_exhausted, "cannot create the socket pair of a worker's channel", errno);
  }
  return made;
}

received receive(int socket, std::span<std::byte> buffer, bool block) {
  received result;
  iovec part{buffer.data(), buffer.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * max_descriptors)> control;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const int flags = MSG_CMSG_CLOEXEC | (block ? 0 : MSG_DONTWAIT);
  ssize_t count = 0;
  do {
    count = ::recvmsg(socket, &header, flags);
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    result.status =
        errno == EAGAIN || errno == EWOULDBLOCK ? receive_status::empty : receive_status::closed;
    return result;
  }
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    const std::size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < n; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      if (descriptor one{number}) {
        result.descriptors.push_back(std::move(one));
      } else {
        result.some_lost = true;
      }
    }
  }
  result.some_lost |= (header.msg_flags & MSG_CTRUNC) != 0;
  // No process sends empty messages on these sockets, so zero bytes is the end of the stream.
  result.status = count == 0 ? receive_status::closed : receive_status::message;
  result.bytes = static_cast<std::size_t>(count);
  return result;
}

send_status send(int socket, std::span<const std::byte> message, std::span<const int> descriptors,
                 bool block) {
  iovec part{const_cast<std::byte*>(message.data()), message.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * max_descriptors)> control;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!descriptors.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(c), descriptors.data(), descriptors.size_bytes());
  }
  if (const int code = descriptors.empty() ? 0 : TROUPE_FAILPOINT_ERRNO("descriptors.send");
      code != 0) {
    errno = code;
    return send_status::failed;
  }
  const int flags = MSG_NOSIGNAL | (block ? 0 : MSG_DONTWAIT);
  for (;;) {
    if (::sendmsg(socket, &header, flags) >= 0) {
      return send_status::sent;
    }
    if (errno == EINTR) {
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) {
      return send_status::full;
    }
    if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) {
      return send_status::closed;
    }
    return send_status::failed;
  }
}

blocked_signals::blocked_signals() noexcept {
  static_assert(sizeof(sigset_t) <= sizeof(old_));
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  std::memcpy(old_, &old, sizeof old);
}

blocked_signals::~blocked_signals() {
  sigset_t old;
  std::memcpy(&old, old_, sizeof old);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

std::optional<std::string> text_of(const std::string& path) {
  const descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file) {
    return std::nullopt;
  }
  std::string text;
  std::array<char, 4096> part;
  ssize_t got = 0;
  while ((got = ::read(file.number(), part.data(), part.size())) > 0 ||
         (got < 0 && errno == EINTR)) {
    text.append(part.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  }
  return text;
}

DIR* open_folder(const char* path) noexcept {
  descriptor folder{::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  DIR* const opened = folder ? ::fdopendir(folder.number()) : nullptr;
  if (opened != nullptr) {
    static_cast<void>(folder.release());
  }
  return opened;
}

namespace {

/// Calls `fn(number)` for every all-digit name in a folder of /proc.
template <class Fn>
bool for_each_number(const char* folder, Fn fn) {
  DIR* const dir = open_folder(folder);
  if (dir == nullptr) {
    return false;
  }
  while (const dirent* entry = ::readdir(dir)) {
    char* end = nullptr;
    const long number = std::strtol(entry->d_name, &end, 10);
    if (end != entry->d_name && *end == '\0') {
      fn(number);
    }
  }
  ::closedir(dir);
  return true;
}

/// The kernel's lists of children, one for each thread; false if the kernel was built without. A
/// list that is read while a child is reaped may miss another child, so only the process that reaps
/// all of them calls this.
bool listed_children(pid_t parent, std::vector<pid_t>& found) {
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/task", static_cast<int>(parent));
  bool all = true;
  const bool any = for_each_number(path.data(), [&](long thread) {
    std::snprintf(path.data(), path.size(), "/proc/%d/task/%ld/children", static_cast<int>(parent),
                  thread);
    const auto text = text_of(path.data());
    all = all && text.has_value();
    std::istringstream list{text.value_or("")};
    for (pid_t child = 0; list >> child;) {
      found.push_back(child);
    }
  });
  return any && all;
}

}  // namespace

int thread_count() noexcept {
  int count = 0;
  if (for_each_number("/proc/self/task", [&](long) { ++count; })) {
    return count;
  }
  return errno == EMFILE || errno == ENFILE ? 0 : 1;
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> found;
  if (parent == ::getpid() && listed_children(parent, found)) {
    return found;
  }
  found.clear();
  for_each_number("/proc", [&](long number) {
    std::array<char, 64> path{};
    std::snprintf(path.data(), path.size(), "/proc/%ld/stat", number);
    const descriptor file{::open(path.data(), O_RDONLY | O_CLOEXEC)};
    std::array<char, 512> text{};
    if (!file || ::read(file.number(), text.data(), text.size() - 1) <= 0) {
      return;
    }
    // The name in parentheses may itself hold parentheses and spaces: look behind the last one.
    const char* rest = std::strrchr(text.data(), ')');
    char state = 0;
    int ppid = 0;
    if (rest != nullptr && std::sscanf(rest + 1, " %c %d", &state, &ppid) == 2 && ppid == parent) {
      found.push_back(static_cast<pid_t>(number));
    }
  });
  return found;
}

bool is_own_child(pid_t pid) noexcept {
  siginfo_t info{};
  return pid > 0 &&
         ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

void signal_group(pid_t leader, int signal) noexcept {
  if (is_own_child(leader)) {
    if (::kill(-leader, signal) != 0) {
      ::kill(leader, signal);
    }
  } else if (leader > 0 && ::kill(leader, 0) != 0 && errno == ESRCH) {
    // Another thread has waited for it. Its number was not used since, so what is left in its group
    // has been there before.
    ::kill(-leader, signal);
  }
}

std::int64_t monotonic_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace troupe::sys
