// SPDX-License-Identifier: BSD-3-Clause

// The handler runs at any instruction: nothing here allocates, locks or waits.

#include "process/worker_sigterm.hpp"

#include "channel/channel.hpp"
#include "os/sys.hpp"

#include <signal.h>
#include <unistd.h>

#include <cerrno>

namespace troupe::detail {
namespace {

/// What the handler needs to know of this process.
struct sigterm_place {
  worker_channel* channel = nullptr;
  pid_t worker = 0;
  pid_t parent = 0;
  pid_t program = 0;
};
constinit sigterm_place place;

bool may_end_this_process(const siginfo_t& info) {
  if (::getpid() != place.worker) {
    return true;  // a child that a task has forked, with this handler
  }
  if (info.si_code != SI_USER && info.si_code != SI_QUEUE && info.si_code != SI_TKILL) {
    return true;  // no process has sent it: a timer of a task, say
  }
  return info.si_pid == place.parent || info.si_pid == place.worker ||
         (place.program != 0 && info.si_pid == place.program);
}

void on_sigterm(int signal, siginfo_t* info, void* /*context*/) {
  const int saved = errno;
  if (may_end_this_process(*info)) {
    ::signal(signal, SIG_DFL);
    ::raise(signal);  // ends the process when this function returns
  } else {
    place.channel->tell_sigterm(info->si_pid);
  }
  errno = saved;
}

}  // namespace

void take_sigterm(pid_t program, worker_channel& channel) {
  place = {&channel, ::getpid(), ::getppid(), program};
  struct sigaction action{};
  action.sa_sigaction = &on_sigterm;
  action.sa_flags = SA_SIGINFO | sys::restarts_calls;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGTERM, &action, nullptr);
}

}  // namespace troupe::detail
