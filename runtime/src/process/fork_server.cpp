// SPDX-License-Identifier: BSD-3-Clause

// The fork server: a process without threads and locks, and with little memory. It starts workers,
// reaps them, and reports how they ended. When its supervisor is gone it ends them all and leaves.
//
//    supervisor's socket readable ──▶ launch / signal / guard
//        at its end, or it is dead ─▶ kill every group, sweep, leave
//    a worker's pidfd readable ──▶ reap, report, sweep what the dead worker left behind
//    another child has ended ─────▶ reap: the orphans of workers are adopted here
//
// Where it is executed anew, the static initializers of the program run in it and may have started
// threads, which take signals, and wait for children of the server. So nothing here depends on
// signals, or on being the only thread that waits for children; and such a server does not fork its
// workers but executes them (docs/decisions/0014).

#include "troupe/detail/memory.hpp"
#include "troupe/detail/region.hpp"

#include "channel/crash_record.hpp"
#include "os/failpoint.hpp"
#include "os/sys.hpp"
#include "process/child.hpp"
#include "process/surroundings.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <deque>
#include <exception>
#include <iterator>
#include <list>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

extern char** environ;

namespace troupe::detail::child {
namespace {

/// How long the guardian waits for killed processes to be gone before it leaves all the same.
constexpr int last_sweep_rounds = 200;

/// Whether this process has a thread that a forked copy of it would not have.
bool has_threads() {
#if defined(__SANITIZE_THREAD__)
  constexpr int own = 2;  // the sanitizer has one in every copy, and brings it along itself
#else
  constexpr int own = 1;
#endif
  const int all = sys::thread_count();
  return all == 0 || all > own;
}

class server {
 public:
  server(descriptor control, const program& self, pid_t supervisor)
      : control_{std::move(control)},
        self_{self},
        own_pid_{::getpid()},
        program_{supervisor},
        supervisor_{static_cast<int>(::syscall(SYS_pidfd_open, supervisor, 0))} {
    const std::vector<pid_t> here_before = sys::children_of(own_pid_);
    not_of_workers_.insert(here_before.begin(), here_before.end());
    sigset_t all;
    sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);  // a terminal's signals must not end the server
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    deaths_ = descriptor{::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK)};
  }

  [[noreturn]] void run() {
    answer({op::ready, 0, 0, own_pid_, {}});
    std::vector<pollfd> wait;
    for (;;) {
      // The socket's end alone is not enough: a process that the program forked by itself may hold
      // a copy of the other end. A negative descriptor (no pidfds here) is passed over.
      const auto to_read_or_write = static_cast<short>(POLLIN | (outgoing_.empty() ? 0 : POLLOUT));
      wait.assign({{control_.number(), to_read_or_write, 0},
                   {deaths_.number(), POLLIN, 0},
                   {supervisor_.number(), POLLIN, 0}});
      for (const auto& [pid, worker] : workers_) {
        wait.push_back({worker.watched() ? worker.pidfd.number() : -1, POLLIN, 0});
      }
      const bool looked = ::poll(wait.data(), wait.size(), patience_ms()) >= 0;
      for (std::size_t i = 0; i < wait.size(); ++i) {
        wait[i].revents = looked ? wait[i].revents : short{0};
      }
      auto of_worker = wait.begin() + 3;
      for (auto& [pid, worker] : workers_) {
        worker.may_have_ended = !worker.watched() || of_worker->revents != 0;
        ++of_worker;
      }
      if (wait[1].revents != 0) {
        std::array<signalfd_siginfo, 16> infos{};
        while (::read(deaths_.number(), infos.data(), sizeof infos) > 0) {
        }
      }
      reap();
      if (wait[1].revents != 0) {
        reap_orphans();
      }
      if (sweep_due_ && sys::monotonic_ns() >= sweep_at_ns_) {
        sweep_due_ = false;
        sweep();
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

  struct environment {
    std::vector<char> text;
    std::vector<char*> pointers;
  };

  struct worker_process {
    std::uint64_t id = 0;
    descriptor pidfd;             ///< empty if the kernel gave none
    bool may_have_ended = false;  ///< `reap` has to look
    bool is_held = false;         ///< it has ended, but a tracer (a debugger) still holds it
    [[nodiscard]] bool watched() const { return pidfd.number() >= 0 && !is_held; }
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
    } else if (request.what == op::surroundings) {
      surroundings_code_ = got.some_lost ? EMFILE : adopt(request, got.descriptors);
    } else {
      carry_out(request);
    }
    return true;
  }

  void carry_out(const message& request) {
    switch (request.what) {
      case op::signal:
        for (const auto& [pid, worker] : workers_) {
          if (worker.id == request.worker) {
            sys::signal_group(pid, request.value);
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

  /// Carries out requests that are still in the socket when the supervisor's end is noticed, so
  /// that a process that the supervisor wanted guarded is killed, too.
  void read_last_requests() {
    // The first report of the end may be the error of an answer that the supervisor did not read.
    // Requests may come after it.
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

  /// Takes over the surroundings that workers are to have: they inherit them. Returns an errno.
  int adopt(const message& request, std::vector<descriptor>& descriptors) {
    std::size_t next = 0;
    if ((request.pid & has_directory) != 0 &&
        (next == descriptors.size() || ::fchdir(descriptors[next++].number()) != 0)) {
      return next == 0 ? EBADF : errno;
    }
    if (request.value >= 0) {
      ::umask(static_cast<mode_t>(request.value));
    }
    if ((request.pid & has_environment) != 0) {
      if (request.worker > 0 && next == descriptors.size()) {
        return EBADF;
      }
      try {
        replace_environment(request.worker > 0 ? &descriptors[next] : nullptr, request.worker);
      } catch (const std::exception&) {
        return ENOMEM;
      }
    }
    return 0;
  }

  void replace_environment(const descriptor* memory, std::uint64_t bytes) {
    environment fresh;
    if (memory != nullptr) {
      const mapping view = map_foreign(*memory, bytes);
      const auto* const text = reinterpret_cast<const char*>(view.data());
      fresh.text.assign(text, text + bytes);
    }
    fresh.pointers = environment_pointers(fresh.text);
    environments_.push_back(std::move(fresh));
    environ = environments_.back().pointers.data();
    if (!has_threads()) {
      // Threads of static initializers may still read an old one.
      environments_.erase(environments_.begin(), std::prev(environments_.end()));
    }
  }

  void launch(const message& request, std::vector<descriptor>& descriptors, bool some_lost) {
    if (some_lost || (descriptors.size() != 2 && descriptors.size() != 3)) {
      answer({op::failed, some_lost ? EMFILE : EBADF, request.worker, 0, {}});
      return;
    }
    int code = TROUPE_FAILPOINT_ERRNO("server.fork");
    code = code != 0 ? code : surroundings_code_;
    worker_boot boot;
    boot.id = request.worker;
    boot.method = static_cast<start_method>(request.value);
    boot.is_process = request.what == op::launch_with_pidfd;
    boot.program = program_;
    boot.ends.socket = std::move(descriptors[0]);
    boot.ends.memory = std::move(descriptors[1]);
    if (descriptors.size() == 3) {
      boot.ends.errors = std::move(descriptors[2]);
    }
    pid_t pid = -1;
    if (code == 0) {
      // A forked copy of a process with threads does not have these, and locks that they held stay
      // locked in it.
      pid = boot.method == start_method::spawn || has_threads()
                ? start_executed(std::move(boot), self_, own_pid_)
                : ::fork();
      code = pid < 0 ? errno : 0;
    }
    if (code != 0) {
      answer({op::failed, code, request.worker, 0, {}});
      return;
    }
    if (pid == 0) {
      become_worker(std::move(boot), self_, own_pid_);
    }
    // The child makes the group, too, so that it exists whichever of the two runs first.
    ::setpgid(pid, pid);
    descriptor pidfd = open_pidfd(pid);
    descriptor passed{pidfd && request.what == op::launch_with_pidfd
                          ? ::fcntl(pidfd.number(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1)
                          : -1};
    workers_.emplace(pid, worker_process{request.worker, std::move(pidfd)});
    answer({op::launched, 0, request.worker, pid, {}}, std::move(passed));
  }

  /// None if another thread has waited for the child already: then the number may be another's.
  static descriptor open_pidfd(pid_t pid) {
    descriptor opened{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
    if (!sys::is_own_child(pid)) {
      opened.reset();
    }
    return opened;
  }

  /// How long to sleep when nothing comes.
  [[nodiscard]] int patience_ms() const {
    constexpr int soon = 10;
    constexpr int now_and_then = 50;
    if (sweep_due_) {
      return soon;
    }
    // Without pidfds, SIGCHLD may wake the server, or may be taken by another thread.
    const bool all_watched = std::all_of(workers_.begin(), workers_.end(),
                                         [](const auto& one) { return one.second.watched(); });
    return all_watched ? -1 : now_and_then;
  }

  void reap() {
    for (auto at = workers_.begin(); at != workers_.end();) {
      const auto next = std::next(at);
      if (at->second.may_have_ended && has_ended(at->first, at->second)) {
        dead_.insert(mark_of_worker(own_pid_, at->second.id));
        workers_.erase(at);
        sweep_soon();
      }
      at = next;
    }
    std::erase_if(killed_, [](pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) != 0; });
  }

  /// Waits for adopted orphans that have ended. Where static initializers have started threads, which
  /// may wait for children of their own, only for those that had ended at the look before.
  void reap_orphans() {
    const bool may_be_awaited = has_threads();
    std::set<pid_t> ended;
    for (const pid_t pid : sys::children_of(own_pid_)) {
      siginfo_t info{};
      if (is_known(pid) ||
          ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
          info.si_pid == 0) {
        continue;
      }
      if (may_be_awaited && !ended_orphans_.contains(pid)) {
        ended.insert(pid);
      } else {
        ::waitpid(pid, nullptr, WNOHANG);
      }
    }
    ended_orphans_ = std::move(ended);
  }

  /// It is a worker, or was there before all workers.
  [[nodiscard]] bool is_known(pid_t pid) const {
    return workers_.contains(pid) || not_of_workers_.contains(pid);
  }

  /// Says so if the worker has ended.
  bool has_ended(pid_t pid, worker_process& worker) {
    siginfo_t info{};
    // Look first and reap second: while the dead worker is a zombie its group id cannot be reused,
    // so that the signal to its group reaches no other process.
    if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
      if (info.si_pid == 0) {
        worker.is_held = worker.pidfd.number() >= 0;
        return false;
      }
      ::kill(-pid, SIGKILL);
      int status = 0;
      rusage usage{};
      if (::wait4(pid, &status, WNOHANG, &usage) == pid) {
        worker.pidfd.reset();  // before the end is told: nothing of the worker is left then
        answer({op::exited, status, worker.id, pid, to_resource_usage(usage)});
        return true;
      }
    } else if (errno != ECHILD) {
      return false;
    }
    // Another thread, which waits for any child, has taken the status.
    sys::signal_group(pid, SIGKILL);
    worker.pidfd.reset();
    answer({op::vanished, 0, worker.id, pid, {}});
    return true;
  }

  void sweep_soon() {
    sweep_due_ = true;
    sweep_at_ns_ = sys::monotonic_ns() + 10'000'000;
  }

  /// Kills what dead workers have left behind. The server adopts the orphans of all workers, of
  /// those that live, too: their marks tell whose they are. `last`: no worker lives any more.
  void sweep(bool last = false) {
    bool found = false;
    for (const pid_t pid : sys::children_of(own_pid_)) {
      if (last ? !workers_.contains(pid) : !is_known(pid) && is_of_the_dead(pid)) {
        ::kill(pid, SIGKILL);
        killed_.insert(pid);
        found = true;
      }
    }
    if (found || !killed_.empty()) {
      sweep_soon();  // the server adopts the children of the killed ones next
    } else {
      dead_.clear();
    }
    reap_orphans();
  }

  [[nodiscard]] bool is_of_the_dead(pid_t pid) const {
    const std::vector<std::string> marks = marks_of(pid);
    return std::any_of(marks.begin(), marks.end(),
                       [this](const std::string& mark) { return dead_.contains(mark); });
  }

  /// Never blocks: the supervisor may be blocked in a request until the server reads on.
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
        next.passed.reset();  // too many descriptors are on their way: sent without it
        continue;
      }
      outgoing_.pop_front();
    }
  }

  [[noreturn]] void leave() {
    read_last_requests();
    for (const auto& [pid, worker] : workers_) {
      sys::signal_group(pid, SIGKILL);
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
      sweep(true);
      ::poll(nullptr, 0, 10);
    }
    remove_abandoned_blocks();
    ::_exit(0);
  }

  descriptor control_;
  const program& self_;
  pid_t own_pid_;
  pid_t program_;
  descriptor supervisor_;
  descriptor deaths_;
  std::deque<news> outgoing_;
  std::list<environment> environments_;  ///< the last one is `environ`
  int surroundings_code_ = 0;            ///< why workers cannot begin in those that were said last
  std::map<pid_t, worker_process> workers_;
  std::set<pid_t> guarded_;
  std::set<pid_t> not_of_workers_;  ///< children that were there first
  std::set<pid_t> killed_;          ///< by the sweep, to be reaped
  std::set<pid_t> ended_orphans_;   ///< at the last look; only where this process has threads
  std::set<std::string> dead_;      ///< the marks of workers whose descendants may live
  bool sweep_due_ = false;
  std::int64_t sweep_at_ns_ = 0;
};

}  // namespace

void serve(descriptor control, const program& self, pid_t supervisor) {
  ::setsid();
  ::prctl(PR_SET_NAME, "troupe-server");
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::prctl(PR_SET_PDEATHSIG, 0);
  reset_signals(true);
  plug_standard_streams();
  if (!has_threads()) {
    // A server with threads closes nothing: those threads use descriptors that it does not know.
    close_inherited({&control});
  }
  prepare_backtraces();  // once, for all workers that are forked from here
  if (::getppid() != supervisor) {
    ::_exit(0);  // the supervisor has ended already, so no request will come
  }
  server{std::move(control), self, supervisor}.run();
}

}  // namespace troupe::detail::child
