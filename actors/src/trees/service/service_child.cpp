// SPDX-License-Identifier: BSD-3-Clause

// A supervised process, from the inside.

#include "trees/service/service_child.hpp"

#include "troupe/error.hpp"

#include "os/library_thread.hpp"
#include "os/sys.hpp"
#include "processes/process_core.hpp"
#include "trees/service/service_run.hpp"
#include "trees/service/service_state.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace troupe::detail {
namespace {

/// Says it on the line to the supervisor's process.
class line_host final : public service_host {
 public:
  explicit line_host(service_line line) : line_{std::move(line)} {}

  void say(line_kind what, std::string_view text, bool wait) noexcept override {
    line_.say(what, text, wait);
  }
  [[nodiscard]] const service_line& line() const noexcept { return line_; }

 private:
  service_line line_;
};

/// This process as a service, set once, before there are threads. Never destroyed: its threads run
/// until the process ends.
constinit service_state* here = nullptr;
constinit const service_line* line = nullptr;
/// What the handler of SIGTERM may touch.
constinit std::atomic<int> stop_pipe{-1};
constinit pid_t program = 0;

void on_sigterm(int, siginfo_t* info, void*) {
  const int saved = errno;
  // A service manager may signal every process of the program at once: a service stops when its
  // supervisor says so, in its turn. The fork server is the parent.
  const pid_t sender = info->si_pid;
  if (sender == program || sender == ::getppid() || sender == ::getpid()) {
    const char byte = 0;
    static_cast<void>(!::write(stop_pipe.load(), &byte, 1));
  }
  errno = saved;
}

/// Waits until the service is to stop: its supervisor says so on the line, or SIGTERM came. The line
/// is what counts: a signal that is pending already when another one is sent takes that one's place,
/// also if another process than the supervisor had sent it.
void wait_for_stop(int signals) noexcept {
  std::array<pollfd, 2> watched{pollfd{signals, POLLIN, 0}, pollfd{line->number(), POLLIN, 0}};
  for (;;) {
    ::poll(watched.data(), watched.size(), -1);
    char byte = 0;
    if ((watched[0].revents != 0 && ::read(signals, &byte, 1) == 1) ||
        (watched[1].revents != 0 && line->hears_stop())) {
      return;
    }
  }
}

/// Has the stop token set on a thread of its own, as that may call code of the user.
void take_stops() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    throw error{errc::resource_exhausted, task_ran::no,
                "troupe: no pipe for the signals of a service"};
  }
  const int reading = moved_to_own_number(ends[0]);
  stop_pipe = moved_to_own_number(ends[1]);
  ::fcntl(stop_pipe, F_SETFL, O_NONBLOCK);
  start_thread("troupe-stop", [reading] {
    wait_for_stop(reading);
    here->stop.request_stop();
  });
  program = static_cast<pid_t>(here->role.program);
  struct sigaction action{};
  action.sa_sigaction = &on_sigterm;
  action.sa_flags = SA_SIGINFO | sys::restarts_calls;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGTERM, &action, nullptr);
  ::signal(SIGINT, SIG_IGN);
}

void tell_uncaught(const failure& why) {
  line->say(line_kind::threw, why.type_name + ": " + why.text, true);
}

}  // namespace

void run_supervised(service_role role, service_line end, bound_call target, bound_call probe) {
  const auto host = std::make_shared<line_host>(std::move(end));
  line = &host->line();
  here = new service_state{role, host};
  service_state::become(here);
  set_uncaught_listener(&tell_uncaught);
  if (!role.service) {
    target();
    return;
  }
  take_stops();
  if (role.ready_at_start || role.every_ms >= 0) {
    here->say_ready();
  }
  if (role.probe_ms >= 0) {
    start_thread("troupe-probe", [probe = std::move(probe)] { run_probes(*here, probe); });
  }
  run_service(*here, target);
}

}  // namespace troupe::detail
