// SPDX-License-Identifier: BSD-3-Clause

// A supervised process, from the inside.

#include "trees/service/service_child.hpp"

#include "troupe/error.hpp"
#include "troupe/this_service.hpp"

#include "os/library_thread.hpp"
#include "processes/process_core.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <utility>

namespace troupe::detail {
namespace {

using steady = std::chrono::steady_clock;

std::int64_t now_ns() noexcept {
  return steady::now().time_since_epoch().count();
}

/// This process as a service. Never destroyed: its threads run until the process ends.
struct service_state {
  service_role role;
  service_line line;
  std::stop_source stop{};
  std::atomic<bool> ready{false};
  std::atomic<std::int64_t> next_beat_ns{0};
  pid_t pid = ::getpid();  // children that it forks are no services
};

/// Set once, before there are threads.
constinit service_state* here = nullptr;
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

service_state& service() {
  if (!this_service::is_service()) {
    throw error{errc::wrong_state, task_ran::no,
                "troupe: this process is no service of a supervisor (see child_service)"};
  }
  return *here;
}

/// Waits until the service is to stop: its supervisor says so on the line, or SIGTERM came. The line
/// is what counts: a signal that is pending already when another one is sent takes that one's place,
/// also if another process than the supervisor had sent it.
void wait_for_stop(int signals) noexcept {
  std::array<pollfd, 2> watched{pollfd{signals, POLLIN, 0}, pollfd{here->line.number(), POLLIN, 0}};
  for (;;) {
    ::poll(watched.data(), watched.size(), -1);
    char byte = 0;
    if ((watched[0].revents != 0 && ::read(signals, &byte, 1) == 1) ||
        (watched[1].revents != 0 && here->line.hears_stop())) {
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
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGTERM, &action, nullptr);
  ::signal(SIGINT, SIG_IGN);
}

void run_probes(const bound_call& probe) {
  while (service_sleep(steady::now() + std::chrono::milliseconds{here->role.probe_ms})) {
    if (!here->ready) {
      continue;
    }
    here->line.say(line_kind::probe_begins, {}, true);
    try {
      probe();
      here->line.say(line_kind::probe_ends, {}, true);
    } catch (...) {  // of the user's
      const failure why = capture_failure(std::current_exception());
      here->line.say(line_kind::probe_failed, why.type_name + ": " + why.text, true);
      return;
    }
  }
}

/// False: the service is to stop. The watchdog is for what the function does, so it hears of this.
bool sleep_between_runs(const service_role& role) {
  const steady::time_point until = steady::now() + std::chrono::milliseconds{role.every_ms};
  for (;;) {
    const steady::time_point now = steady::now();
    if (now >= until) {
      return !here->stop.stop_requested();
    }
    const auto part = role.beat_ms < 0 ? until : now + std::chrono::milliseconds{role.beat_ms};
    if (!service_sleep(std::min(part, until))) {
      return false;
    }
    this_service::heartbeat();
  }
}

void tell_uncaught(const failure& why) {
  here->line.say(line_kind::threw, why.type_name + ": " + why.text, true);
}

}  // namespace

bool service_sleep(const deadline& until) {
  const std::stop_token stop = service().stop.get_token();
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock{mutex};
  if (until) {
    never.wait_until(lock, stop, *until, [] { return false; });
  } else {
    never.wait(lock, stop, [] { return false; });
  }
  return !stop.stop_requested();
}

void run_supervised(service_role role, service_line line, bound_call target, bound_call probe) {
  here = new service_state{role, std::move(line)};
  set_uncaught_listener(&tell_uncaught);
  if (!role.service) {
    target();
    return;
  }
  take_stops();
  if (role.ready_at_start || role.every_ms >= 0) {
    this_service::ready();
  }
  if (role.probe_ms >= 0) {
    start_thread("troupe-probe", [probe = std::move(probe)] { run_probes(probe); });
  }
  target();
  while (role.every_ms >= 0 && sleep_between_runs(role)) {
    target();
  }
}

}  // namespace troupe::detail

namespace troupe::this_service {

bool is_service() noexcept {
  return detail::here != nullptr && detail::here->role.service && detail::here->pid == ::getpid();
}

std::stop_token stop_token() {
  return detail::service().stop.get_token();
}

void ready() {
  detail::service_state& self = detail::service();
  if (!self.ready.exchange(true)) {
    self.line.say(detail::line_kind::ready, {}, true);
  }
}

void heartbeat() {
  detail::service_state& self = detail::service();
  if (self.role.beat_ms < 0 || !self.ready) {
    return;
  }
  const std::int64_t now = detail::now_ns();
  std::int64_t next = self.next_beat_ns.load(std::memory_order_relaxed);
  const std::int64_t after = now + self.role.beat_ms * 1'000'000;
  // Of threads that come at the same time, one sends.
  if (now >= next &&
      self.next_beat_ns.compare_exchange_strong(next, after, std::memory_order_relaxed)) {
    self.line.say(detail::line_kind::beat, {}, false);
  }
}

std::uint64_t incarnation() {
  return detail::service().role.run;
}

}  // namespace troupe::this_service
