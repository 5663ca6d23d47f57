// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/launcher.hpp"

#include "troupe/detail/failpoint.hpp"
#include "troupe/detail/fork_safety.hpp"

#include "child.hpp"
#include "sys.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

extern char** environ;

namespace troupe::detail {

launcher::launcher(program self) : self_{std::move(self)} {
  failpoint::table_descriptor();  // made before the fork, so that all processes share it
  const std::lock_guard lock{mutex_};
  start_server();
}

launcher::~launcher() {
  std::vector<std::int64_t> here;
  pid_t server = -1;
  {
    const std::lock_guard lock{mutex_};
    // Its end of file: it kills what is left and leaves. Shut down, not only closed: a process that
    // the program forked by itself may hold a copy of this end.
    ::shutdown(server_.number(), SHUT_RDWR);
    server_.reset();
    server = static_cast<pid_t>(std::exchange(server_pid_, -1));
    for (const auto& [worker, child] : forked_) {
      here.push_back(child.pid);
    }
  }
  for (const std::int64_t pid : here) {
    ::kill(static_cast<pid_t>(-pid), SIGKILL);
    ::kill(static_cast<pid_t>(pid), SIGKILL);
    ::waitpid(static_cast<pid_t>(pid), nullptr, 0);
  }
  if (server > 0) {
    while (::waitpid(server, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
}

void launcher::start_server() {
  auto [here, there] = sys::socket_pair();
  const pid_t supervisor = ::getpid();
  pid_t pid = -1;
  if (sys::thread_count() == 1) {
    // What is buffered now would be written again by every child that flushes.
    std::fflush(nullptr);
    pid = ::fork();
    if (pid == 0) {
      here.reset();
      child::serve(std::move(there), self_, supervisor);
    }
  } else {
    // Threads exist, and a copy of a threaded process may only execute something.
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    // dup2 onto itself is how posix_spawn is told to pass a descriptor on.
    ::posix_spawn_file_actions_adddup2(&actions, there.number(), there.number());
    std::string role = std::string{child::role_variable} +
                       "=server:" + std::to_string(there.number()) + ":" +
                       std::to_string(supervisor);
    if (const int table = failpoint::table_descriptor(); table >= 0) {
      ::posix_spawn_file_actions_adddup2(&actions, table, table);
      role += ":" + std::to_string(table);
    }
    std::vector<char*> arguments;
    for (std::string& argument : self_.arguments) {
      arguments.push_back(argument.data());
    }
    arguments.push_back(nullptr);
    std::vector<char*> environment;
    for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
      environment.push_back(*variable);
    }
    environment.push_back(role.data());
    environment.push_back(nullptr);
    const int code = ::posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, arguments.data(),
                                   environment.data());
    ::posix_spawn_file_actions_destroy(&actions);
    if (code != 0) {
      errno = code;
      pid = -1;
    }
  }
  if (pid < 0) {
    sys::fail(errc::spawn_failed, "cannot start the fork server", errno);
  }
  // Until it is set up, so that nothing about this program changes after the constructor returned.
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
    order_guard(true, child.pid);  // the guardian that knew them is gone
  }
}

void launcher::attach(reactor& loop, events callbacks) {
  events_ = std::move(callbacks);
  loop_ = &loop;
  const std::lock_guard lock{mutex_};
  loop_->watch(server_.number(), [this] { server_readable(); });
}

void launcher::detach() {
  const std::lock_guard lock{mutex_};
  if (server_) {
    loop_->forget(server_.number());
  }
  for (const auto& [worker, child] : forked_) {
    loop_->forget(child.pidfd.number());
  }
}

std::int64_t launcher::server_pid() const {
  const std::lock_guard lock{mutex_};
  return server_pid_;
}

void launcher::launch(std::uint64_t worker, start_method method, channel_ends ends,
                      bool with_pidfd) {
  if (method == start_method::fork) {
    // On the reactor's thread, which lives as long as this process has workers: PDEATHSIG follows
    // the thread that forked.
    auto shared = std::make_shared<channel_ends>(std::move(ends));
    {
      const std::lock_guard lock{mutex_};
      to_fork_.emplace(worker, false);
    }
    loop_->post(
        [this, worker, shared, with_pidfd] { fork_here(worker, std::move(*shared), with_pidfd); });
    return;
  }
  int code = 0;
  {
    const std::lock_guard lock{mutex_};
    try {
      ensure_server();
    } catch (const error&) {
      code = EAGAIN;
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
      if (sys::send(server_.number(), std::as_bytes(std::span{&request, 1}),
                    std::span{passed}.first(ends.errors ? 3 : 2), true) != sys::send_status::sent) {
        code = errno == 0 ? EPIPE : errno;
        of_server_.erase(worker);
      }
    }
  }
  if (code != 0) {
    loop_->post([this, worker, code] { events_.failed(worker, code); });
  }
}

void launcher::kill(std::uint64_t worker, int signal) {
  const std::lock_guard lock{mutex_};
  if (const auto found = to_fork_.find(worker); found != to_fork_.end()) {
    found->second = true;
    return;
  }
  if (const auto found = forked_.find(worker); found != forked_.end()) {
    // The child is reaped under this lock, so its number is still its own.
    ::kill(static_cast<pid_t>(-found->second.pid), signal);
    ::kill(static_cast<pid_t>(found->second.pid), signal);
    return;
  }
  if (server_ && of_server_.contains(worker)) {
    const child::message request{child::op::signal, signal, worker, 0, {}};
    sys::send(server_.number(), std::as_bytes(std::span{&request, 1}), {}, true);
  }
}

void launcher::order_guard(bool guard, std::int64_t pid) {
  if (server_) {
    const child::message request{guard ? child::op::guard : child::op::unguard, 0, 0, pid, {}};
    sys::send(server_.number(), std::as_bytes(std::span{&request, 1}), {}, true);
  }
}

void launcher::server_readable() {
  for (;;) {
    child::message answer{};
    sys::received got;
    {
      const std::lock_guard lock{mutex_};
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
        const std::lock_guard lock{mutex_};
        of_server_[answer.worker] = answer.pid;
      }
      events_.launched(answer.worker, answer.pid,
                       got.descriptors.empty() ? descriptor{} : std::move(got.descriptors.front()));
    } else if (answer.what == child::op::failed || answer.what == child::op::exited) {
      {
        const std::lock_guard lock{mutex_};
        of_server_.erase(answer.worker);
      }
      if (answer.what == child::op::failed) {
        events_.failed(answer.worker, answer.value);
      } else {
        events_.exited(
            {answer.worker, answer.pid, child::to_exit_status(answer.value), answer.usage});
      }
    }
  }
}

void launcher::server_lost() {
  std::map<std::uint64_t, std::int64_t> orphans;
  {
    const std::lock_guard lock{mutex_};
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
      events_.exited({worker, pid, std::nullopt, std::nullopt});
    }
  }
}

void launcher::fork_here(std::uint64_t worker, channel_ends ends, bool with_pidfd) {
  const auto forget_order = [this, worker] {
    const std::lock_guard lock{mutex_};
    to_fork_.erase(worker);
  };
  const pid_t parent = ::getpid();
  int code = 0;
  {
    const std::lock_guard lock{mutex_};
    const auto found = to_fork_.find(worker);
    code = found != to_fork_.end() && found->second ? ECANCELED : 0;
    try {
      ensure_server();  // as guardian
    } catch (const error&) {
      code = EAGAIN;
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
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    forget_order();
    events_.failed(worker, code);
    return;
  }
  const int watched = pidfd.number();
  descriptor copy{with_pidfd ? ::fcntl(watched, F_DUPFD_CLOEXEC, 3) : -1};
  {
    const std::lock_guard lock{mutex_};
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
    const std::lock_guard lock{mutex_};
    const auto found = forked_.find(worker);
    if (found == forked_.end()) {
      return;
    }
    const auto pid = static_cast<pid_t>(found->second.pid);
    // Still a zombie: the group's number cannot have been reused.
    ::kill(-pid, SIGKILL);
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
