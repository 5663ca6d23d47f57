// SPDX-License-Identifier: BSD-3-Clause
// A program whose static initializers do what those of linked libraries do (threads of OpenBLAS and
// OpenMP, agents, loggers), run by thread_at_load_test:
//
//     TROUPE_TEST_AT_LOAD=MODE load_victim METHOD
//
// METHOD is a start method. MODE: thread (waits for work, with no signal blocked), main_thread (the
// same, started by main's first line), sigwait (a thread takes every signal), reaper (a thread
// waits for any child), ignored (SIGCHLD is), handler (of SIGCHLD, which waits for any child),
// blocked (every signal is), handlers (of the signals by which a process is asked to end, which do
// nothing, and of SIGCHLD, which waits for any child), main_blocked (the same by main's first lines, which ignore SIGCHLD
// too, without a thread), fork (a child that stays), asked (a handler of SIGTERM, and each process
// stays before main until it is asked to end). Writes how workers and processes end to
// standard output, a line each.
#include "troupe/pool.hpp"
#include "troupe/process.hpp"
#include "troupe/system.hpp"

#include "support/eventually.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

namespace troupe::test {
namespace {

using namespace std::chrono_literals;

std::string_view mode() {
  const char* const text = ::getenv("TROUPE_TEST_AT_LOAD");
  return text == nullptr ? "" : text;
}

/// Work for the thread below: one number is asked for, and answered by the next.
std::atomic<int> asked{0};
std::atomic<int> answered{0};

void serve_for_ever() {
  for (int last = 0;;) {
    asked.wait(last);
    last = asked;
    answered = last + 1;
    answered.notify_all();
  }
}

void take_signals() {
  sigset_t all;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
  for (int number = 0;;) {
    ::sigwait(&all, &number);
  }
}

void wait_for_any_child() {
  for (;;) {
    if (::waitpid(-1, nullptr, 0) < 0) {
      std::this_thread::yield();
      ::usleep(200);
    }
  }
}

struct library {
  library() {
    const std::string_view what = mode();
    if (what == "thread") {
      std::thread{serve_for_ever}.detach();
    } else if (what == "sigwait") {
      std::thread{take_signals}.detach();
    } else if (what == "reaper") {
      std::thread{wait_for_any_child}.detach();
    } else if (what == "ignored") {
      ::signal(SIGCHLD, SIG_IGN);
      std::thread{[] { ::pause(); }}.detach();
    } else if (what == "handler") {
      ::signal(SIGCHLD, [](int) {
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {
        }
      });
      std::thread{[] {
        for (;;) {
          ::pause();
        }
      }}.detach();
    } else if (what == "handlers") {
      for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) {
        ::signal(number, [](int) {});
      }
      ::signal(SIGCHLD, [](int) {
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {
        }
      });
    } else if (what == "asked") {
      static volatile std::sig_atomic_t was_asked = 0;
      ::signal(SIGTERM, [](int) { was_asked = 1; });
      const char* const role = std::getenv("TROUPE_ROLE");
      if (role != nullptr && std::string_view{role}.starts_with("process:")) {
        while (was_asked == 0) {
          ::usleep(1000);
        }
      }
    } else if (what == "blocked") {
      sigset_t all;
      sigfillset(&all);
      ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
      std::thread{[] { ::pause(); }}.detach();
    } else if (what == "fork") {
      std::thread{serve_for_ever}.detach();
      const pid_t parent = ::getpid();
      if (::fork() == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (::getppid() == parent) {
          ::usleep(1000);
        }
        ::_exit(0);
      }
    }
  }
};
const library linked;

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

int add_one(int number) {
  return number + 1;
}
int ask_thread(int number) {
  asked = number;
  asked.notify_all();
  answered.wait(0);
  return answered;
}
int die(int number) {
  ::raise(number);
  return 0;
}
/// The exit status of a child of this process, or -1.
int status_of_child(int status) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(status);
  }
  int seen = 0;
  return ::waitpid(child, &seen, 0) == child ? WEXITSTATUS(seen) : -1;
}
int abort_here() {
  std::abort();
}
int never_stop() {
  for (;;) {
    ::usleep(1000);
  }
}
void leave(int code) {
  std::exit(code);
}
/// What it returns is the id of a process that has left its group and session.
int start_daemon() {
  int ends[2];
  if (::pipe(ends) != 0) {
    return -1;
  }
  const pid_t first = ::fork();
  if (first == 0) {
    ::setsid();
    const pid_t second = ::fork();
    if (second == 0) {
      for (;;) {
        ::usleep(1000);
      }
    }
    static_cast<void>(::write(ends[1], &second, sizeof second));
    ::_exit(0);
  }
  ::waitpid(first, nullptr, 0);
  pid_t found = -1;
  static_cast<void>(::read(ends[0], &found, sizeof found));
  ::close(ends[0]);
  ::close(ends[1]);
  return found;
}

std::string words(const std::optional<exit_status>& end) {
  return end ? to_string(*end) : "unknown";
}

template <class F>
std::string end_of(F&& call) {
  try {
    call();
    return "no error";
  } catch (const worker_lost& lost) {
    return words(lost.exit());
  } catch (const timeout_error&) {
    return "timeout";
  }
}

void run_asked_early(start_method method) {
  process stays{{.start = method}, never_stop};
  stays.start();
  stays.terminate();
  say("asked early: " + (stays.join_for(10s) ? words(stays.exit_status()) : "it stays"));
  stays.kill();
  stays.join();
}

void run(start_method method) {
  {
    pool p{{.workers = 2, .start = method, .grace = 100ms}};
    say("value: " + std::to_string(p.apply(add_one, 1)));
    if ((mode() == "thread" || mode() == "main_thread" || mode() == "fork") &&
        method != start_method::fork) {
      // What is executed anew has the thread as well, a copy would not.
      say("thread: " + std::to_string(p.apply(ask_thread, 41)));
    }
    say("killed: " + end_of([&] { p.apply(die, SIGKILL); }));
    say("terminated: " + end_of([&] { p.apply(die, SIGTERM); }));
    if (mode() != "reaper") {
      say("child: " + std::to_string(p.apply(status_of_child, 5)));
    }
    say("aborted: " + end_of([&] { p.apply(abort_here); }));
    say("exit: " + end_of([&] { p.apply(leave, 3); }));
    say("timeout: " + end_of([&] { p.with({.timeout = 100ms}).apply(never_stop); }));
    const int daemon = p.apply(start_daemon);
    p.terminate();
    if (method != start_method::fork) {
      say("daemon gone: " + std::to_string(eventually([&] { return ::kill(daemon, 0) != 0; })));
    } else {
      ::kill(daemon, SIGKILL);
    }
  }
  say("pool ended");
  process seven{{.start = method}, leave, 7};
  seven.start();
  seven.join();
  say("process: " + words(seven.exit_status()));
  process stays{{.start = method}, never_stop};
  stays.start();
  stays.kill();
  stays.join();
  say("killed process: " + words(stays.exit_status()));
  process asked_to_end{{.start = method}, never_stop};
  asked_to_end.start();
  asked_to_end.terminate();
  asked_to_end.join();
  say("terminated process: " + words(asked_to_end.exit_status()));
}

}  // namespace
}  // namespace troupe::test

int main(int argc, char** argv) {
  if (troupe::test::mode() == "main_thread") {
    std::thread{troupe::test::serve_for_ever}.detach();
  }
  if (troupe::test::mode() == "main_blocked") {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    ::signal(SIGCHLD, SIG_IGN);
  }
  {
    const troupe::system system{argc, argv};
    const std::string_view method = argc > 1 ? argv[1] : "forkserver";
    const auto start = method == "fork"    ? troupe::start_method::fork
                       : method == "spawn" ? troupe::start_method::spawn
                                           : troupe::start_method::forkserver;
    if (troupe::test::mode() == "asked") {
      troupe::test::run_asked_early(start);
    } else {
      troupe::test::run(start);
    }
  }
  troupe::test::say("end");
  std::_Exit(0);
}
