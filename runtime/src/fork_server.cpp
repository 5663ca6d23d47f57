// SPDX-License-Identifier: BSD-3-Clause

// The fork server: no threads, no locks, little memory. It starts workers, reaps them, says how
// they ended, and when its supervisor is gone it ends them all and leaves.
//
//    supervisor's socket readable ──▶ launch / signal / guard
//        at its end, or it is dead ─▶ kill every group, sweep, leave
//    SIGCHLD ──▶ reap, report, sweep what the dead worker left behind

#include "troupe/detail/crash_record.hpp"
#include "troupe/detail/failpoint.hpp"
#include "troupe/detail/region.hpp"

#include "child.hpp"
#include "sys.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <deque>
#include <map>
#include <set>

namespace troupe::detail::child {
namespace {

/// How long the guardian waits for killed processes to be gone before it leaves all the same.
constexpr int last_sweep_rounds = 200;

class server {
 public:
  server(descriptor control, const program& self, pid_t supervisor)
      : control_{std::move(control)},
        self_{self},
        own_pid_{::getpid()},
        supervisor_{static_cast<int>(::syscall(SYS_pidfd_open, supervisor, 0))} {
    sigset_t all;
    sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);  // INT, TERM and HUP of the terminal are not for us
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    deaths_ = descriptor{::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK)};
  }

  [[noreturn]] void run() {
    answer({op::ready, 0, 0, own_pid_, {}});
    for (;;) {
      // The socket's end alone is not enough: a process that the program forked by itself may hold
      // a copy of the other end. A negative descriptor (no pidfds here) is passed over.
      const auto to_read_or_write = static_cast<short>(POLLIN | (outgoing_.empty() ? 0 : POLLOUT));
      std::array<pollfd, 3> wait{{{control_.number(), to_read_or_write, 0},
                                  {deaths_.number(), POLLIN, 0},
                                  {supervisor_.number(), POLLIN, 0}}};
      const int ready = ::poll(wait.data(), wait.size(), sweep_due_ ? 10 : -1);
      if (ready == 0) {
        sweep_due_ = false;
        sweep();
        continue;
      }
      if (wait[1].revents != 0) {
        std::array<signalfd_siginfo, 16> infos{};
        while (::read(deaths_.number(), infos.data(), sizeof infos) > 0) {
        }
        reap();
      }
      flush();
      if (((wait[0].revents & ~POLLOUT) != 0 && !serve_request()) || wait[2].revents != 0) {
        leave();
      }
    }
  }

 private:
  /// What the supervisor is told, with a descriptor if there is one.
  struct news {
    message text;
    descriptor passed;
  };

  static bool is_launch(op what) { return what == op::launch || what == op::launch_with_pidfd; }

  bool serve_request() {
    message request{};
    sys::received got =
        sys::receive(control_.number(), std::as_writable_bytes(std::span{&request, 1}), false);
    if (got.status == sys::receive_status::closed) {
      return false;
    }
    if (got.status == sys::receive_status::empty || got.bytes != sizeof request) {
      return true;
    }
    if (is_launch(request.what)) {
      launch(request, got.descriptors, got.some_lost);
    } else {
      carry_out(request);
    }
    return true;
  }

  void carry_out(const message& request) {
    switch (request.what) {
      case op::signal:
        for (const auto& [pid, worker] : workers_) {
          if (worker == request.worker) {
            signal_group(pid, request.value);
            break;
          }
        }
        break;
      case op::guard:
        guarded_.insert(static_cast<pid_t>(request.pid));
        break;
      case op::unguard:
        guarded_.erase(static_cast<pid_t>(request.pid));
        break;
      default:
        break;
    }
  }

  /// Whom the supervisor wanted guarded is not forgotten because its death was noticed first.
  void read_last_requests() {
    // The first end may be an error, about answers that nobody will read: requests come after it.
    for (int ends = 0; ends < 2;) {
      message request{};
      const sys::received got =
          sys::receive(control_.number(), std::as_writable_bytes(std::span{&request, 1}), false);
      if (got.status == sys::receive_status::empty) {
        return;
      }
      if (got.status == sys::receive_status::closed) {
        ++ends;
      } else if (got.bytes == sizeof request && !is_launch(request.what)) {
        carry_out(request);
      }
    }
  }

  void launch(const message& request, std::vector<descriptor>& descriptors, bool some_lost) {
    if (some_lost || (descriptors.size() != 2 && descriptors.size() != 3)) {
      answer({op::failed, some_lost ? EMFILE : EBADF, request.worker, 0, {}});
      return;
    }
    int code = TROUPE_FAILPOINT_ERRNO("server.fork");
    const pid_t pid = code != 0 ? -1 : ::fork();
    if (pid < 0) {
      answer({op::failed, code != 0 ? code : errno, request.worker, 0, {}});
      return;
    }
    if (pid == 0) {
      worker_boot boot;
      boot.id = request.worker;
      boot.method = static_cast<start_method>(request.value);
      boot.is_process = request.what == op::launch_with_pidfd;
      boot.ends.socket = std::move(descriptors[0]);
      boot.ends.memory = std::move(descriptors[1]);
      if (descriptors.size() == 3) {
        boot.ends.errors = std::move(descriptors[2]);
      }
      become_worker(std::move(boot), self_, own_pid_);
    }
    // On both sides, so that the group exists whoever runs first.
    ::setpgid(pid, pid);
    workers_.emplace(pid, request.worker);
    // Nobody but us reaps it, so the number is still its own.
    descriptor pidfd{request.what == op::launch_with_pidfd
                         ? static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))
                         : -1};
    answer({op::launched, 0, request.worker, pid, {}}, std::move(pidfd));
  }

  static void signal_group(pid_t pid, int number) {
    // Not yet reaped, so neither number can belong to anybody else.
    if (::kill(-pid, number) != 0) {
      ::kill(pid, number);
    }
  }

  void reap() {
    for (;;) {
      int status = 0;
      rusage usage{};
      siginfo_t info{};
      // Look first and reap second: while the dead worker is a zombie its group id cannot be
      // reused, so that killing its group hits nobody else.
      if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) {
        return;
      }
      const pid_t pid = info.si_pid;
      const auto found = workers_.find(pid);
      if (found != workers_.end()) {
        ::kill(-pid, SIGKILL);
      }
      if (::wait4(pid, &status, WNOHANG, &usage) != pid || found == workers_.end()) {
        continue;
      }
      answer({op::exited, status, found->second, pid, to_resource_usage(usage)});
      workers_.erase(found);
      sweep_due_ = true;
    }
  }

  /// Workers adopt what their tasks leave behind, so whatever is our child and no worker was left
  /// by a worker that is dead.
  bool sweep() {
    bool found = false;
    for (const pid_t pid : sys::children_of(own_pid_)) {
      if (!workers_.contains(pid)) {
        ::kill(pid, SIGKILL);
        found = true;
      }
    }
    sweep_due_ = sweep_due_ || found;  // its own children come to us next
    return found;
  }

  /// Never blocks: the supervisor may be blocked on a request to us, and we are the one to go on
  /// reading.
  void answer(const message& text, descriptor passed = {}) {
    outgoing_.push_back({text, std::move(passed)});
    flush();
  }

  void flush() {
    while (!outgoing_.empty()) {
      news& next = outgoing_.front();
      const int number = next.passed.number();
      const sys::send_status status =
          sys::send(control_.number(), std::as_bytes(std::span{&next.text, 1}),
                    std::span{&number, next.passed ? 1U : 0U}, false);
      if (status == sys::send_status::full) {
        return;
      }
      if (status == sys::send_status::failed && next.passed) {
        next.passed.reset();  // too many are on their way: the news must not be lost with it
        continue;
      }
      outgoing_.pop_front();
    }
  }

  [[noreturn]] void leave() {
    read_last_requests();
    for (const auto& [pid, worker] : workers_) {
      signal_group(pid, SIGKILL);
    }
    for (const pid_t pid : guarded_) {
      ::kill(-pid, SIGKILL);
    }
    control_.reset();
    for (int round = 0; round < last_sweep_rounds; ++round) {
      pid_t pid = 0;
      while ((pid = ::waitpid(-1, nullptr, WNOHANG)) > 0) {
        workers_.erase(pid);
      }
      if (pid < 0 && errno == ECHILD) {
        break;
      }
      sweep();
      ::poll(nullptr, 0, 10);
    }
    remove_abandoned_blocks();
    ::_exit(0);
  }

  descriptor control_;
  const program& self_;
  pid_t own_pid_;
  descriptor supervisor_;
  descriptor deaths_;
  std::deque<news> outgoing_;
  std::map<pid_t, std::uint64_t> workers_;
  std::set<pid_t> guarded_;
  bool sweep_due_ = false;
};

}  // namespace

void serve(descriptor control, const program& self, pid_t supervisor) {
  ::setsid();
  ::prctl(PR_SET_NAME, "troupe-server");
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::prctl(PR_SET_PDEATHSIG, 0);
  reset_signals(true);
  move_up(control);
  plug_standard_streams();
  std::vector<int> keep{control.number()};
  if (failpoint::table_descriptor() >= 0) {
    keep.push_back(failpoint::table_descriptor());
  }
  close_all_but(keep);
  prepare_backtraces();  // once, for all who are forked from here
  if (::getppid() != supervisor) {
    ::_exit(0);  // gone already: nobody will ever ask for anything
  }
  server{std::move(control), self, supervisor}.run();
}

}  // namespace troupe::detail::child
