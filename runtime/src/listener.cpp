// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/listener.hpp"

#include "troupe/log.hpp"

#include "connection_core.hpp"
#include "handshake.hpp"
#include "socket_address.hpp"
#include "stream_io.hpp"
#include "sys.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <deque>
#include <filesystem>
#include <list>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace troupe {
namespace detail {
namespace {

using clock = std::chrono::steady_clock;
using sys::raw_address;
using sys::socket_address;

// More than this many clients at once that do not prove themselves: the one that has had the
// longest time for it is dropped.
constexpr std::size_t most_pending = 256;

/// The process that is at the other end of a Unix socket, or was when it connected.
bool is_same_user(int socket) {
  ucred peer{};
  socklen_t bytes = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 &&
         peer.uid == ::geteuid();
}

connection make_connection(descriptor socket, bool local, std::uint64_t max_message_bytes) {
  if (!local) {
    const int on = 1;  // a message is sent as one piece, and should go at once
    ::setsockopt(socket.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  connection_traits traits;
  traits.local = local;
  traits.max_message_bytes = max_message_bytes;
  return connection_access::make(std::move(socket), traits);
}

descriptor new_socket(int family) {
  descriptor made{::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!made) {
    sys::fail(errc::resource_exhausted, "troupe: no socket can be made", errno);
  }
  return made;
}

/// Keeps other listeners from looking for a stale file in the same folder. Does without after a
/// while: anybody who may read a folder can lock it, and for ever.
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

/// Is the file a socket that nobody listens to?
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

class listener_core {
 public:
  listener_core(const std::string& text, listener_options options)
      : options_{std::move(options)}, address_{sys::parse_address(text)}, text_{text} {
    check_options();
    watch_.reset(::epoll_create1(EPOLL_CLOEXEC));
    bell_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!watch_ || !bell_) {
      sys::fail(errc::resource_exhausted, "troupe: no listener can be made", errno);
    }
    address_.kind == socket_address::family::tcp ? listen_tcp() : listen_unix();
    add(bell_.number());
    add(listening_.number());
  }
  ~listener_core() { close(); }
  listener_core(const listener_core&) = delete;
  listener_core& operator=(const listener_core&) = delete;

  std::optional<connection> accept_until(const deadline& until);
  void close() noexcept;

  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  [[nodiscard]] bool is_open() const noexcept {
    const std::lock_guard lock{mutex_};
    return static_cast<bool>(listening_);
  }
  [[nodiscard]] int number() const {
    check_open();
    return watch_.number();
  }

 private:
  struct client {
    descriptor socket;
    handshake proof;
    clock::time_point until;
  };

  void check_options() const;
  void check_open() const {
    if (!is_open()) {
      fail_closed();
    }
  }
  [[noreturn]] static void fail_closed() {
    throw error{errc::closed, task_ran::no, "troupe: the listener is closed"};
  }
  void listen_tcp();
  void listen_unix();
  /// Throws error{resource_exhausted}.
  void add(int number) const;

  // The rest with the mutex held.
  void look_at_the_door();
  void step_clients();
  void drop_late_clients(clock::time_point now);
  /// Nothing if the client is not ready.
  void step(std::list<client>::iterator which);
  void ring(bool on) const noexcept;

  const listener_options options_;
  const socket_address address_;
  std::string text_;
  descriptor watch_;  // an epoll: of the bell, the listening socket and the clients'
  descriptor bell_;   // readable while somebody is ready, and for ever once closed
  const pid_t owner_ = ::getpid();
  dev_t file_device_ = 0;
  ino_t file_inode_ = 0;

  mutable std::mutex mutex_;
  descriptor listening_;
  std::list<client> clients_;  // not done yet, in the order they came
  std::deque<connection> ready_;
  std::deque<std::string> refused_;  // each is one accept's authentication_error
};

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

void listener_core::listen_tcp() {
  int problem = EADDRNOTAVAIL;
  for (const raw_address& one : sys::look_up(address_)) {
    if (!one.is_loopback() && !options_.allow_remote) {
      throw std::invalid_argument{"troupe: '" + address_.text +
                                  "' is not the loopback's: other machines are let in with "
                                  "{.allow_remote = true} only"};
    }
    descriptor socket = new_socket(one.family());
    const int on = 1;  // connections of a listener before this one may still be winding up
    ::setsockopt(socket.number(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(socket.number(), one.get(), one.bytes) == 0 &&
        ::listen(socket.number(), options_.backlog) == 0) {
      text_ = sys::local_address(socket.number());
      listening_ = std::move(socket);
      return;
    }
    problem = errno;
  }
  fail_to_listen(address_.text, problem);
}

void listener_core::listen_unix() {
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
  // Still in the lock: to others a socket that does not listen yet looks stale.
  if (problem == 0 && ::listen(socket.number(), options_.backlog) != 0) {
    problem = errno;
  }
  if (problem != 0) {
    fail_to_listen(address_.text, problem);
  }
  struct stat made{};
  if (has_file && ::lstat(address_.text.c_str(), &made) == 0) {
    file_device_ = made.st_dev;
    file_inode_ = made.st_ino;
  }
  listening_ = std::move(socket);
}

void listener_core::close() noexcept {
  const std::lock_guard lock{mutex_};
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

void listener_core::look_at_the_door() {
  // Not all that are there at once: those who are done come first.
  for (int n = 0; n < 16; ++n) {
    descriptor socket;
    for (;;) {
      socket.reset(::accept4(listening_.number(), nullptr, nullptr, SOCK_CLOEXEC));
      if (socket || (errno != EINTR && errno != ECONNABORTED)) {
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
      clients_.pop_front();
    }
    const int number = socket.number();
    clients_.push_back({std::move(socket), handshake{handshake::side::listener, options_.key},
                        clock::now() + options_.handshake_timeout});
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
      ready_.push_back(make_connection(std::move(which->socket),
                                       address_.kind != socket_address::family::tcp,
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
    {
      const std::lock_guard lock{mutex_};
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

namespace {

void connect_socket(int socket, const raw_address& to, const std::string& text,
                    const deadline& until) {
  const auto fail = [&](int number) {
    sys::fail(errc::connect_failed, "troupe: cannot connect to '" + text + "'", number);
  };
  for (;;) {
    if (::connect(socket, to.get(), to.bytes) == 0 || errno == EISCONN) {
      return;
    }
    const int number = errno;
    if (number == EINPROGRESS || number == EALREADY ||
        (number == EINTR && to.family() != AF_UNIX)) {
      pollfd one{socket, POLLOUT, 0};
      if (sys::poll_until({&one, 1}, until) == 0) {
        throw timeout_error{"troupe: no connection to '" + text + "' in time", task_ran::no};
      }
      int result = 0;
      socklen_t bytes = sizeof result;
      ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &result, &bytes);
      if (result != 0) {
        fail(result);
      }
      return;
    }
    if (number == EAGAIN) {
      // The backlog of a Unix socket is full, and nothing tells when it is not any more.
      if (until && clock::now() >= *until) {
        throw timeout_error{"troupe: '" + text + "' let nobody in in time", task_ran::no};
      }
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    } else if (number != EINTR) {
      fail(number);
    }
  }
}

void set_blocking(int socket) {
  ::fcntl(socket, F_SETFL, ::fcntl(socket, F_GETFL) & ~O_NONBLOCK);
}

}  // namespace
}  // namespace detail

listener::listener(const std::string& address, listener_options options)
    : core_{std::make_shared<detail::listener_core>(address, std::move(options))} {}

listener::~listener() {
  close();
}

listener& listener::operator=(listener&& other) noexcept {
  if (this != &other) {
    close();
    core_ = std::move(other.core_);
  }
  return *this;
}

namespace {

detail::listener_core& opened(const std::shared_ptr<detail::listener_core>& core) {
  if (!core) {
    throw error{errc::closed, task_ran::no, "troupe: this listener was moved from"};
  }
  return *core;
}

}  // namespace

connection listener::accept() {
  opened(core_);
  const auto core = core_;  // it may be closed, or even moved from, while this waits
  for (;;) {
    if (auto made = core->accept_until(std::nullopt)) {
      return std::move(*made);
    }
  }
}

std::optional<connection> listener::accept_until(const detail::deadline& until) {
  opened(core_);
  const auto core = core_;
  return core->accept_until(until);
}

const std::string& listener::address() const noexcept {
  static const std::string none;
  return core_ ? core_->text() : none;
}

int listener::native_handle() const {
  return opened(core_).number();
}

bool listener::is_open() const noexcept {
  return core_ && core_->is_open();
}

void listener::close() noexcept {
  if (core_) {
    core_->close();
  }
}

connection connect(const std::string& address, connect_options options) {
  const sys::socket_address where = sys::parse_address(address);
  const bool local = where.kind != sys::socket_address::family::tcp;
  if (!local && !options.key) {
    throw std::invalid_argument{"troupe: connecting to '" + address +
                                "' needs a key: TCP does not tell whose process listens"};
  }
  const detail::deadline until = detail::deadline_after(options.timeout);
  std::optional<error> problem;
  for (const sys::raw_address& to : sys::look_up(where)) {
    detail::descriptor socket = detail::new_socket(to.family());
    try {
      detail::connect_socket(socket.number(), to, address, until);
    } catch (const error& e) {
      if (e.code() != errc::connect_failed) {
        throw;
      }
      problem = e;  // a name may stand for several machines
      continue;
    }
    if (local && !options.key && !detail::is_same_user(socket.number())) {
      throw authentication_error{"troupe: another user listens at '" + address + "'"};
    }
    detail::handshake proof{detail::handshake::side::client, options.key};
    for (;;) {
      switch (proof.step(socket.number())) {
        case detail::handshake::state::done:
          detail::set_blocking(socket.number());
          return detail::make_connection(std::move(socket), local, options.max_message_bytes);
        case detail::handshake::state::refused:
          throw authentication_error{"troupe: '" + address + "': " + proof.why()};
        case detail::handshake::state::failed:
          throw error{errc::protocol_error, task_ran::no,
                      "troupe: '" + address + "': " + proof.why()};
        case detail::handshake::state::under_way:
          break;
      }
      pollfd one{socket.number(), POLLIN, 0};
      if (sys::poll_until({&one, 1}, until) == 0) {
        throw timeout_error{"troupe: the listener at '" + address + "' is silent", task_ran::no};
      }
    }
  }
  throw *problem;
}

}  // namespace troupe
