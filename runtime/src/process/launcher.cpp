// SPDX-License-Identifier: BSD-3-Clause
#include "process/launcher.hpp"

#include "troupe/detail/memory.hpp"
#include "troupe/log.hpp"

#include "base/fork_safety.hpp"
#include "os/failpoint.hpp"
#include "os/leave.hpp"
#include "os/process_identity.hpp"
#include "os/sys.hpp"
#include "process/child.hpp"
#include "process/surroundings.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <utility>

extern char** environ;

namespace troupe::detail {
namespace {

/// Sends a signal to a child that was forked here, in its group or not, and to its group. The
/// caller holds the launcher's lock, under which children are reaped. If the program has waited for
/// the child, its number may belong to another process.
void signal_child(pid_t pid, int signal) {
  if (sys::is_own_child(pid)) {
    ::kill(-pid, signal);
    ::kill(pid, signal);
  } else {
    sys::signal_group(pid, signal);
  }
}

constexpr std::chrono::milliseconds look_interval{1000};
/// A server that was found stopped so often in a row is not waited for. Once is not enough: all
/// processes of a service may have been stopped, and this one goes on first.
constexpr int looks_before_giving_up = 2;

/// Waits until a server ends that was told to leave. One that is stopped is killed.
void wait_for_server(pid_t server) {
  constexpr int blind_ms = 10;
  const descriptor end{static_cast<int>(::syscall(SYS_pidfd_open, server, 0))};
  const auto interval = static_cast<int>(look_interval.count());
  int waited_ms = 0;
  int stopped = 0;
  for (;;) {
    const pid_t got = ::waitpid(server, nullptr, WNOHANG);
    if (got == server || (got < 0 && errno != EINTR)) {
      return;
    }
    pollfd one{end.number(), POLLIN, 0};
    if (::poll(&one, end ? 1 : 0, end ? interval : blind_ms) != 0) {
      continue;
    }
    waited_ms += end ? interval : blind_ms;
    if (waited_ms < interval) {
      continue;
    }
    waited_ms = 0;
    stopped = is_stopped(server) ? stopped + 1 : 0;
    if (stopped == looks_before_giving_up) {
      ::kill(server, SIGKILL);
    }
  }
}

/// Executes the program anew as a fork server. Throws error{resource_exhausted}; returns -1 with
/// errno.
pid_t execute_server(const program& self, const descriptor& control, pid_t supervisor) {
  if (!child::may_execute_itself()) {
    throw error{errc::spawn_failed, task_ran::no,
                "cannot start the fork server: this program got rights by being executed (set-uid, "
                "set-gid or capabilities), so it cannot be executed anew, and it has threads "
                "already, so it cannot be forked. Make its troupe::system before any thread"};
  }
  // The copies have numbers above those that they get in the child.
  constexpr int first = STDERR_FILENO + 1;
  constexpr int room = first + 2;
  const auto copy_above = [](int number) {
    descriptor copy{::fcntl(number, F_DUPFD_CLOEXEC, room)};
    if (!copy) {
      sys::fail(errc::resource_exhausted, "cannot start the fork server", errno);
    }
    return copy;
  };
  const descriptor socket = copy_above(control.number());
  const descriptor table =
      failpoint::table_descriptor() >= 0 ? copy_above(failpoint::table_descriptor()) : descriptor{};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, socket.number(), first);
  std::string role = std::string{child::role_variable} + "=server:" + std::to_string(first) + ":" +
                     std::to_string(supervisor);
  if (table) {
    ::posix_spawn_file_actions_adddup2(&actions, table.number(), first + 1);
    role += ":" + std::to_string(first + 1);
  }
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
  // What is open there when the server begins is then its own threads'.
  ::posix_spawn_file_actions_addclosefrom_np(&actions, table ? room : room - 1);
#endif
  // The static initializers of the program run before the server does. Threads that they start get
  // no signals that are for it, and it none that are not for it.
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t all;
  sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::vector<char*> arguments;
  for (const std::string& argument : self.arguments) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  std::vector<char*> environment;
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    environment.push_back(*variable);
  }
  environment.push_back(role.data());
  environment.push_back(nullptr);
  pid_t pid = -1;
  const int code = ::posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, arguments.data(),
                                 environment.data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  errno = code;
  return code == 0 ? pid : -1;
}

}  // namespace

launcher::launcher(program self) : self_{std::move(self)} {
  failpoint::table_descriptor();  // made before the fork, so that all processes share it
  const mutex_guard lock{mutex_};
  start_server();
}

launcher::~launcher() {
  std::vector<std::int64_t> here;
  pid_t server = -1;
  {
    const mutex_guard lock{mutex_};
    // At the end of the stream the server kills what is left and leaves. Shut down, not only
    // closed: a process that the program forked by itself may hold a copy of this end.
    ::shutdown(server_.number(), SHUT_RDWR);
    server_.reset();
    server = static_cast<pid_t>(std::exchange(server_pid_, -1));
    for (const auto& [worker, child] : forked_) {
      here.push_back(child.pid);
    }
  }
  for (const std::int64_t pid : here) {
    signal_child(static_cast<pid_t>(pid), SIGKILL);
    ::waitpid(static_cast<pid_t>(pid), nullptr, 0);
  }
  if (server > 0) {
    wait_for_server(server);
  }
}

bool launcher::ask_server(const child::message& request, std::span<const int> passed) {
  for (;;) {
    const sys::send_status status =
        sys::send(server_.number(), std::as_bytes(std::span{&request, 1}), passed, false);
    if (status != sys::send_status::full) {
      errno = status == sys::send_status::closed ? EPIPE : errno;
      return status == sys::send_status::sent;
    }
    pollfd one{server_.number(), POLLOUT, 0};
    if (::poll(&one, 1, static_cast<int>(look_interval.count())) == 0 && is_stopped(server_pid_)) {
      errno = ETIMEDOUT;
      return false;
    }
  }
}

void launcher::look_again_soon() {
  if (!std::exchange(looks_again_, true)) {
    loop_->call_at(std::chrono::steady_clock::now() + look_interval, [this] { look_at_server(); });
  }
}

void launcher::look_at_server() {
  std::vector<std::uint64_t> not_launched;
  {
    const mutex_guard lock{mutex_};
    looks_again_ = false;
    for (auto one = killed_.begin(); one != killed_.end();) {
      one = of_server_.contains(*one) ? std::next(one) : killed_.erase(one);
    }
    for (const auto& [worker, pid] : of_server_) {
      if (pid == 0) {
        not_launched.push_back(worker);
      }
    }
    if (killed_.empty() && not_launched.empty()) {
      looks_while_stopped_ = 0;
      return;
    }
    looks_while_stopped_ = is_stopped(server_pid_) ? looks_while_stopped_ + 1 : 0;
    look_again_soon();
    if (looks_while_stopped_ < looks_before_giving_up) {
      return;
    }
    for (const std::uint64_t one : not_launched) {
      killed_.erase(one);
      of_server_.erase(one);
      ask_server({child::op::signal, SIGKILL, one, 0, {}});  // should it go on
    }
    const std::string server =
        "troupe: the fork server (pid " + std::to_string(server_pid_) + ") is stopped";
    if (!killed_.empty()) {
      log(log_level::error, server +
                                ", so that a worker cannot be ended: it is killed, and its "
                                "workers with it");
      ::kill(static_cast<pid_t>(server_pid_), SIGKILL);
    } else if (!not_launched.empty()) {
      log(log_level::error, server + ": it launches no workers until it goes on (SIGCONT)");
    }
  }
  for (const std::uint64_t one : not_launched) {
    events_.failed(one, ETIMEDOUT);
  }
}

void launcher::start_server() {
  auto [here, there] = sys::socket_pair();
  const pid_t supervisor = ::getpid();
  pid_t pid = -1;
  if (sys::thread_count() == 1) {
    // What is buffered now would be written again by every child that flushes.
    flush_standard_streams();
    std::fflush(nullptr);
    servers_environment_ = current_environment();
    pid = ::fork();
    if (pid == 0) {
      here.reset();
      child::serve(std::move(there), self_, supervisor);
    }
  } else {
    // This process has threads, and a forked copy of it may only execute a program.
    servers_environment_.reset();
    pid = execute_server(self_, there, supervisor);
  }
  if (pid < 0) {
    sys::fail(errc::spawn_failed, "cannot start the fork server", errno);
  }
  // Waits until the server is set up: it copies this process's state, which may change afterwards.
  child::message greeting{};
  there.reset();
  if (sys::receive(here.number(), std::as_writable_bytes(std::span{&greeting, 1}), true).status !=
      sys::receive_status::message) {
    ::waitpid(pid, nullptr, 0);
    throw error{errc::spawn_failed, task_ran::no, "the fork server ended before it was ready"};
  }
  server_ = std::move(here);
  server_pid_ = pid;
}

void launcher::ensure_server() {
  if (server_) {
    return;
  }
  start_server();
  loop_->watch(server_.number(), [this] { server_readable(); });
  for (const auto& [worker, child] : forked_) {
    order_guard(true, child.pid);  // the guardian that knew them has ended
  }
}

void launcher::attach(reactor& loop, events callbacks) {
  events_ = std::move(callbacks);
  loop_ = &loop;
  const mutex_guard lock{mutex_};
  loop_->watch(server_.number(), [this] { server_readable(); });
}

void launcher::detach() {
  const mutex_guard lock{mutex_};
  if (server_) {
    loop_->forget(server_.number());
  }
  for (const auto& [worker, child] : forked_) {
    loop_->forget(child.pidfd.number());
  }
}

void launcher::launch(std::uint64_t worker, start_method method, channel_ends ends,
                      bool with_pidfd) {
  if (method == start_method::fork) {
    // On the reactor's thread, which lives as long as this process has workers: PDEATHSIG follows
    // the thread that forked.
    auto shared = std::make_shared<channel_ends>(std::move(ends));
    {
      const mutex_guard lock{mutex_};
      to_fork_.emplace(worker, false);
    }
    loop_->post(
        [this, worker, shared, with_pidfd] { fork_here(worker, std::move(*shared), with_pidfd); });
    return;
  }
  int code = 0;
  {
    const mutex_guard lock{mutex_};
    try {
      ensure_server();
    } catch (const error&) {
      code = child::may_execute_itself() ? EAGAIN : EPERM;
    }
    if (code == 0) {
      code = send_surroundings();
    }
    if (code == 0) {
      child::message request{with_pidfd ? child::op::launch_with_pidfd : child::op::launch,
                             static_cast<std::int32_t>(method),
                             worker,
                             0,
                             {}};
      const std::array<int, 3> passed{ends.socket.number(), ends.memory.number(),
                                      ends.errors.number()};
      of_server_[worker] = 0;
      if (!ask_server(request, std::span{passed}.first(ends.errors ? 3 : 2))) {
        code = errno == 0 ? EPIPE : errno;
        of_server_.erase(worker);
      } else {
        look_again_soon();
      }
    }
  }
  if (code != 0) {
    loop_->post([this, worker, code] { events_.failed(worker, code); });
  }
}

int launcher::send_surroundings() {
  child::message request{child::op::surroundings, current_umask(), 0, 0, {}};
  const descriptor directory = current_directory();
  if (directory) {
    request.pid |= child::has_directory;
  } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
    return errno;
  }
  std::string environment = current_environment();
  descriptor memory;
  if (environment != servers_environment_) {
    if (!environment.empty()) {
      try {
        memory = create_memory("troupe-environment", environment.size());
        mapping view = map_memory(memory, 0, environment.size());
        std::copy(environment.begin(), environment.end(), reinterpret_cast<char*>(view.data()));
      } catch (const error&) {
        return EAGAIN;
      }
    }
    request.pid |= child::has_environment;
    request.worker = environment.size();
  }
  std::array<int, 2> passed{};
  std::size_t count = 0;
  for (const descriptor* const one : std::array<const descriptor*, 2>{&directory, &memory}) {
    if (*one) {
      passed[count++] = one->number();
    }
  }
  if (!ask_server(request, std::span{passed}.first(count))) {
    return errno == 0 ? EPIPE : errno;
  }
  servers_environment_ = std::move(environment);
  return 0;
}

void launcher::kill(std::uint64_t worker, int signal) {
  const mutex_guard lock{mutex_};
  if (const auto found = to_fork_.find(worker); found != to_fork_.end()) {
    found->second = true;
    return;
  }
  if (const auto found = forked_.find(worker); found != forked_.end()) {
    signal_child(static_cast<pid_t>(found->second.pid), signal);
    return;
  }
  if (server_ && of_server_.contains(worker)) {
    ask_server({child::op::signal, signal, worker, 0, {}});
    if (signal == SIGKILL) {
      killed_.insert(worker);
      look_again_soon();
    }
  }
}

void launcher::order_guard(bool guard, std::int64_t pid) {
  if (server_) {
    ask_server({guard ? child::op::guard : child::op::unguard, 0, 0, pid, {}});
  }
}

void launcher::server_readable() {
  for (;;) {
    child::message answer{};
    sys::received got;
    {
      const mutex_guard lock{mutex_};
      if (!server_) {
        return;
      }
      got = sys::receive(server_.number(), std::as_writable_bytes(std::span{&answer, 1}), false);
    }
    if (got.status == sys::receive_status::empty) {
      return;
    }
    if (got.status == sys::receive_status::closed) {
      server_lost();
      return;
    }
    if (answer.what == child::op::launched) {
      {
        const mutex_guard lock{mutex_};
        const auto found = of_server_.find(answer.worker);
        if (found == of_server_.end()) {
          continue;  // it `failed`, as the server was stopped, which has an order to kill it
        }
        found->second = answer.pid;
      }
      events_.launched(answer.worker, answer.pid,
                       got.descriptors.empty() ? descriptor{} : std::move(got.descriptors.front()));
    } else if (answer.what == child::op::failed || answer.what == child::op::exited ||
               answer.what == child::op::vanished) {
      {
        const mutex_guard lock{mutex_};
        of_server_.erase(answer.worker);
        if (answer.what == child::op::failed) {
          servers_environment_.reset();  // it may not have got the last one
        }
      }
      if (answer.what == child::op::failed) {
        events_.failed(answer.worker, answer.value);
      } else if (answer.what == child::op::exited) {
        events_.exited(
            {answer.worker, answer.pid, child::to_exit_status(answer.value), answer.usage});
      } else {
        events_.exited({answer.worker, answer.pid, std::nullopt, std::nullopt});
      }
    }
  }
}

void launcher::server_lost() {
  std::map<std::uint64_t, std::int64_t> orphans;
  {
    const mutex_guard lock{mutex_};
    loop_->forget(server_.number());
    server_.reset();
    ::waitpid(static_cast<pid_t>(std::exchange(server_pid_, -1)), nullptr, 0);
    orphans.swap(of_server_);
  }
  // Its workers had asked the kernel to die with it; the next launch starts another server.
  for (const auto& [worker, pid] : orphans) {
    if (pid == 0) {
      events_.failed(worker, ESRCH);
    } else {
      ::kill(static_cast<pid_t>(-pid), SIGKILL);
      events_.exited({worker, pid, std::nullopt, std::nullopt, true});
    }
  }
}

void launcher::fork_here(std::uint64_t worker, channel_ends ends, bool with_pidfd) {
  const auto forget_order = [this, worker] {
    const mutex_guard lock{mutex_};
    to_fork_.erase(worker);
  };
  const pid_t parent = ::getpid();
  int code = 0;
  {
    const mutex_guard lock{mutex_};
    const auto found = to_fork_.find(worker);
    code = found != to_fork_.end() && found->second ? ECANCELED : 0;
    try {
      ensure_server();  // as guardian
    } catch (const error&) {
      code = child::may_execute_itself() ? EAGAIN : EPERM;
    }
  }
  std::fflush(nullptr);
  code = code != 0 ? code : TROUPE_FAILPOINT_ERRNO("server.fork");
  pid_t pid = -1;
  if (code == 0) {
    const all_locked_for_fork for_the_child;
    pid = ::fork();
  }
  if (pid == 0) {
    worker_boot boot;
    boot.id = worker;
    boot.method = start_method::fork;
    boot.is_process = with_pidfd;
    boot.program = parent;
    boot.ends = std::move(ends);
    child::become_worker(std::move(boot), self_, parent);
  }
  if (pid < 0) {
    code = code != 0 ? code : errno;
    forget_order();
    events_.failed(worker, code);
    return;
  }
  ::setpgid(pid, pid);
  descriptor pidfd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  if (!pidfd) {
    code = errno;
    forget_order();
    if (code == ESRCH) {
      // It has ended, and a thread that waits for any child has taken its status.
      events_.launched(worker, pid, {});
      events_.exited({worker, pid, std::nullopt, std::nullopt});
      return;
    }
    signal_child(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    events_.failed(worker, code);
    return;
  }
  const int watched = pidfd.number();
  descriptor copy{with_pidfd ? ::fcntl(watched, F_DUPFD_CLOEXEC, 3) : -1};
  {
    const mutex_guard lock{mutex_};
    forked_.emplace(worker, forked_child{pid, std::move(pidfd)});
    if (const auto order = to_fork_.extract(worker); !order.empty() && order.mapped()) {
      ::kill(pid, SIGKILL);  // killed while it was being forked
    }
    order_guard(true, pid);
  }
  loop_->watch(watched, [this, worker] { reap_forked(worker); });
  events_.launched(worker, pid, std::move(copy));
}

void launcher::reap_forked(std::uint64_t worker) {
  exit_report report;
  {
    const mutex_guard lock{mutex_};
    const auto found = forked_.find(worker);
    if (found == forked_.end()) {
      return;
    }
    const auto pid = static_cast<pid_t>(found->second.pid);
    sys::signal_group(pid, SIGKILL);
    int status = 0;
    rusage usage{};
    report.worker = worker;
    report.pid = pid;
    if (::wait4(pid, &status, WNOHANG, &usage) == pid) {
      report.status = child::to_exit_status(status);
      report.usage = child::to_resource_usage(usage);
    }
    loop_->forget(found->second.pidfd.number());
    order_guard(false, pid);
    forked_.erase(found);
  }
  events_.exited(report);
}

}  // namespace troupe::detail
