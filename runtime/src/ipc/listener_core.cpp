// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/listener_core.hpp"

#include "troupe/log.hpp"

#include "ipc/stream_io.hpp"
#include "ipc/stream_socket.hpp"
#include "os/sys.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <stdexcept>
#include <thread>
#include <utility>

namespace troupe::detail {
namespace {

using sys::raw_address;
using sys::socket_address;

// If more than this many clients have not proven their key, the one that connected first is
// dropped.
constexpr std::size_t most_pending = 256;

/// Keeps other listeners from looking for a stale file in the same folder. Goes on without the lock
/// after a second, because any process that may read a folder can lock it for ever.
class folder_lock {
 public:
  explicit folder_lock(const std::string& path) {
    std::string folder = std::filesystem::path{path}.parent_path().string();
    folder_.reset(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (int tries = 0; tries < 100 && folder_; ++tries) {
      if (::flock(folder_.number(), LOCK_EX | LOCK_NB) == 0) {
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
  }

 private:
  descriptor folder_;
};

/// Whether the file is a socket without a listener.
bool is_stale(const raw_address& address, const std::string& path) {
  struct stat found{};
  if (::lstat(path.c_str(), &found) != 0 || !S_ISSOCK(found.st_mode)) {
    return false;
  }
  const descriptor probe = new_socket(AF_UNIX);
  return ::connect(probe.number(), address.get(), address.bytes) != 0 && errno == ECONNREFUSED;
}

[[noreturn]] void fail_to_listen(const std::string& text, int number) {
  const std::string what = "troupe: cannot listen at '" + text + "'";
  if (number == EADDRINUSE) {
    sys::fail(errc::address_in_use, what, number);
  }
  if (number == EADDRNOTAVAIL || number == ENOENT || number == ENOTDIR || number == EACCES ||
      number == EROFS || number == ELOOP || number == ENAMETOOLONG || number == EPERM) {
    sys::fail(errc::connect_failed, what, number);
  }
  sys::fail(errc::resource_exhausted, what, number);
}

}  // namespace

listener_core::listener_core(const std::string& text, listener_options options)
    : options_{std::move(options)},
      address_{sys::parse_address(text)},
      text_{text},
      process_{watched_fork_generation()} {
  check_options();
  watch_.reset(::epoll_create1(EPOLL_CLOEXEC));
  bell_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!watch_ || !bell_) {
    sys::fail(errc::resource_exhausted, "troupe: no listener can be made", errno);
  }
  listening_ = address_.kind == socket_address::family::tcp ? listen_tcp() : listen_unix();
  add(bell_.number());
  add(listening_.number());
}

void listener_core::check_options() const {
  if (options_.backlog < 1 || options_.handshake_timeout <= options_.handshake_timeout.zero()) {
    throw std::invalid_argument{
        "troupe: a listener's backlog and handshake_timeout must be positive"};
  }
  if (address_.kind == socket_address::family::tcp && !options_.key) {
    throw std::invalid_argument{"troupe: listening at '" + address_.text +
                                "' needs a key: TCP does not tell whose process connects"};
  }
}

void listener_core::add(int number) const {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = number;
  if (::epoll_ctl(watch_.number(), EPOLL_CTL_ADD, number, &event) != 0) {
    sys::fail(errc::resource_exhausted, "troupe: a listener cannot watch its sockets", errno);
  }
}

descriptor listener_core::listen_tcp() {
  int problem = EADDRNOTAVAIL;
  for (const raw_address& one : sys::look_up(address_)) {
    if (!one.is_loopback() && !options_.allow_remote) {
      throw std::invalid_argument{"troupe: '" + address_.text +
                                  "' is not the loopback's: other machines are let in with "
                                  "{.allow_remote = true} only"};
    }
    descriptor socket = new_socket(one.family());
    const int on = 1;  // connections of an earlier listener may still be in TIME_WAIT
    ::setsockopt(socket.number(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(socket.number(), one.get(), one.bytes) == 0 &&
        ::listen(socket.number(), options_.backlog) == 0) {
      text_ = sys::local_address(socket.number());
      return socket;
    }
    problem = errno;
  }
  fail_to_listen(address_.text, problem);
}

descriptor listener_core::listen_unix() {
  const raw_address where = sys::look_up(address_).front();
  descriptor socket = new_socket(AF_UNIX);
  if (!options_.key) {
    ::fchmod(socket.number(), S_IRUSR | S_IWUSR);  // what bind gives the file
  }
  const bool has_file = address_.kind == socket_address::family::path;
  std::optional<folder_lock> lock;
  if (has_file) {
    lock.emplace(address_.text);
  }
  int problem = ::bind(socket.number(), where.get(), where.bytes) == 0 ? 0 : errno;
  if (problem == EADDRINUSE && has_file && is_stale(where, address_.text)) {
    if (::unlink(address_.text.c_str()) != 0) {
      fail_to_listen(address_.text, errno);
    }
    problem = ::bind(socket.number(), where.get(), where.bytes) == 0 ? 0 : errno;
  }
  // With the folder still locked: a socket that does not listen yet looks stale to other listeners.
  if (problem == 0 && ::listen(socket.number(), options_.backlog) != 0) {
    problem = errno;
  }
  if (problem != 0) {
    fail_to_listen(address_.text, problem);
  }
  self_ = own_credentials();  // what the kernel tells clients, whoever accepts them
  struct stat made{};
  if (has_file && ::lstat(address_.text.c_str(), &made) == 0) {
    file_device_ = made.st_dev;
    file_inode_ = made.st_ino;
  }
  return socket;
}

void listener_core::close() noexcept {
  if (is_inherited()) {
    return;
  }
  const mutex_guard lock{mutex_};
  if (!listening_) {
    return;
  }
  struct stat found{};
  if (file_inode_ != 0 && owner_ == ::getpid() && ::lstat(address_.text.c_str(), &found) == 0 &&
      found.st_dev == file_device_ && found.st_ino == file_inode_) {
    ::unlink(address_.text.c_str());
  }
  listening_.reset();
  clients_.clear();
  ready_.clear();
  refused_.clear();
  ring(true);
}

void listener_core::ring(bool on) const noexcept {
  std::uint64_t one = 1;
  if (on) {
    static_cast<void>(::write(bell_.number(), &one, sizeof one));
  } else {
    static_cast<void>(::read(bell_.number(), &one, sizeof one));
  }
}

bool listener_core::is_somebody_at_the_door() const noexcept {
  pollfd door{.fd = listening_.number(), .events = POLLIN, .revents = 0};
  return ::poll(&door, 1, 0) == 1;
}

bool listener_core::let_go_of_oldest(const char* why) {
  if (clients_.empty()) {
    return false;
  }
  log(log_level::info,
      "troupe: a client that had not proven itself was dropped at " + text_ + ", as " + why);
  clients_.pop_front();
  return true;
}

void listener_core::look_at_the_door() {
  // At most 16 in a row: clients that are done with their proof come before more new ones.
  for (int n = 0; n < 16; ++n) {
    descriptor socket;
    for (bool some_went = false;;) {
      socket.reset(::accept4(listening_.number(), nullptr, nullptr, SOCK_CLOEXEC));
      const int code = errno;
      if (socket) {
        break;
      }
      const bool is_short = code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM;
      if (is_short && !is_somebody_at_the_door()) {
        return;  // the kernel looks for a descriptor first, and for a client then
      }
      // Silent clients must not keep out the clients that come after them. One goes for each.
      if (is_short && !some_went && let_go_of_oldest("no descriptor was left for the next one")) {
        some_went = true;
        continue;
      }
      if (code != EINTR && code != ECONNABORTED) {
        errno = code;
        break;
      }
    }
    if (!socket) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return;
      }
      if (ready_.empty() && refused_.empty()) {
        sys::fail(errc::resource_exhausted, "troupe: a client cannot be let in", errno);
      }
      return;
    }
    if (address_.kind != socket_address::family::tcp && !options_.key &&
        !is_same_user(socket.number())) {
      log(log_level::warning, "troupe: another user's process was refused at " + text_);
      continue;
    }
    if (clients_.size() >= most_pending) {
      let_go_of_oldest("too many were waiting");
    }
    constexpr auto for_ever = clock::time_point::max();
    const int number = socket.number();
    clients_.push_back({std::move(socket),
                        handshake{handshake::side::listener, options_.key, self_},
                        deadline_after(options_.handshake_timeout).value_or(for_ever)});
    add(number);
    step(std::prev(clients_.end()));
  }
}

void listener_core::step(std::list<client>::iterator which) {
  switch (which->proof.step(which->socket.number())) {
    case handshake::state::under_way:
      return;
    case handshake::state::done:
      ::epoll_ctl(watch_.number(), EPOLL_CTL_DEL, which->socket.number(), nullptr);
      ready_.push_back(make_connection(std::move(which->socket), which->proof.take_stream(),
                                       options_.max_message_bytes));
      break;
    case handshake::state::refused:
      refused_.push_back("troupe: a client was refused at " + text_ + ": " + which->proof.why());
      break;
    case handshake::state::failed:
      log(log_level::info, "troupe: a client was dropped at " + text_ + ": " + which->proof.why());
      break;
  }
  clients_.erase(which);
}

void listener_core::step_clients() {
  for (auto it = clients_.begin(); it != clients_.end();) {
    step(it++);
  }
}

void listener_core::drop_late_clients(clock::time_point now) {
  while (!clients_.empty() && clients_.front().until <= now) {
    log(log_level::info,
        "troupe: a client that did not prove itself in time was dropped at " + text_);
    clients_.pop_front();
  }
}

std::optional<connection> listener_core::accept_until(const deadline& until) {
  for (bool last = false;;) {
    deadline next = until;
    check_open();
    {
      const mutex_guard lock{mutex_};
      if (!listening_) {
        fail_closed();
      }
      if (ready_.empty() && refused_.empty()) {
        step_clients();
        look_at_the_door();
        drop_late_clients(clock::now());
        if (!ready_.empty() || !refused_.empty()) {
          ring(true);
        }
      }
      const auto take = [&](auto& from) {
        mutex_.assert_held();
        auto first = std::move(from.front());
        from.pop_front();
        if (ready_.empty() && refused_.empty()) {
          ring(false);
        }
        return first;
      };
      if (!ready_.empty()) {
        return take(ready_);
      }
      if (!refused_.empty()) {
        throw authentication_error{take(refused_)};
      }
      if (!clients_.empty() && (!next || clients_.front().until < *next)) {
        next = clients_.front().until;
      }
    }
    if (last) {
      return std::nullopt;
    }
    pollfd any{watch_.number(), POLLIN, 0};
    sys::poll_until({&any, 1}, next);
    last = until && clock::now() >= *until;
  }
}

}  // namespace troupe::detail
