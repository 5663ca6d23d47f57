// SPDX-License-Identifier: BSD-3-Clause
#include "process/child.hpp"

#include "troupe/detail/futex.hpp"
#include "troupe/detail/region.hpp"

#include "os/failpoint.hpp"
#include "os/sys.hpp"
#include "process/identity.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

extern char** environ;

namespace troupe::detail::child {

void reset_signals(bool ignore_interrupt) {
  // As exec would do: handlers go, what was ignored stays ignored.
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction current{};
    if (::sigaction(number, nullptr, &current) == 0 && current.sa_handler != SIG_IGN &&
        current.sa_handler != SIG_DFL) {
      ::signal(number, SIG_DFL);
    }
  }
  ::signal(SIGCHLD, SIG_DFL);
  // Set before SIGINT is unblocked, and in one step: a SIGINT that is pending already has the new
  // effect.
  ::signal(SIGINT, ignore_interrupt ? SIG_IGN : SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void close_all_between(std::span<const int> keep) {
  unsigned first = first_own_number;
  for (const int number : keep) {
    if (number < 0 || static_cast<unsigned>(number) < first) {
      continue;
    }
    if (static_cast<unsigned>(number) > first) {
      ::close_range(first, static_cast<unsigned>(number) - 1, 0);
    }
    first = static_cast<unsigned>(number) + 1;
  }
  ::close_range(first, ~0U, 0);
}

void close_inherited(std::initializer_list<descriptor*> keep) {
  std::vector<int> stay = kept_in_children();
  if (failpoint::table_descriptor() >= 0) {
    stay.push_back(failpoint::table_descriptor());
  }
  std::vector<int> numbers;
  for (descriptor* const one : keep) {
    numbers.push_back(one->release());
    stay.push_back(numbers.back());
  }
  std::sort(stay.begin(), stay.end());
  close_all_between(stay);
  // From here on the other inherited descriptors have no owner, and their numbers may be given to
  // new files.
  ++descriptor_table;
  for (std::size_t i = 0; descriptor* const one : keep) {
    one->reset(numbers[i++]);
  }
}

void plug_standard_streams() {
  const descriptor null{::open("/dev/null", O_RDWR | O_CLOEXEC)};  // not one of those numbers
  if (!null) {
    return;
  }
  ::dup2(null.number(), STDIN_FILENO);
  for (const int number : {STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(number, F_GETFD) < 0) {
      ::dup2(null.number(), number);
    }
  }
}

namespace {

/// What is given to execve, made before there is a fork.
class execution {
 public:
  execution(const program& self, const std::string& role)
      : role_{std::string{role_variable} + "=" + role} {
    for (const std::string& argument : self.arguments) {
      arguments_.push_back(const_cast<char*>(argument.c_str()));
    }
    arguments_.push_back(nullptr);
    for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
      if (std::strncmp(*variable, role_.c_str(), std::strlen(role_variable) + 1) != 0) {
        environment_.push_back(*variable);
      }
    }
    environment_.push_back(role_.data());
    environment_.push_back(nullptr);
  }
  execution(const execution&) = delete;
  execution& operator=(const execution&) = delete;

  /// Returns only if it failed.
  void run() const {
    // The running image itself, even if its file was replaced or deleted meanwhile.
    ::execve("/proc/self/exe", arguments_.data(), environment_.data());
  }

 private:
  std::string role_;
  std::vector<char*> arguments_;
  std::vector<char*> environment_;
};

/// fork. A copy that will only execute a program is made without the fork handlers of libraries,
/// which may wait for threads that the copy does not have.
pid_t fork_to_execute() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return ::fork();  // with sanitizers, which have fork handlers that must run
#elif defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
  return ::_Fork();
#else
  return ::fork();
#endif
}

/// The first steps of every worker, in a fresh copy. Allocates nothing, and waits for nothing.
void settle(worker_boot& boot, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) {
    ::_exit(125);  // the parent died before the line above, so its death would not end this process
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  reset_signals(!boot.is_process);
  plug_standard_streams();
  if (boot.ends.errors) {
    ::dup2(boot.ends.errors.number(), STDERR_FILENO);
    boot.ends.errors.reset();
  }
}

}  // namespace

pid_t start_executed(worker_boot&& boot, const program& self, pid_t parent) {
  std::string role = (boot.is_process ? "process:" : "worker:") + std::to_string(boot.id);
  std::vector<int> keep{boot.ends.socket.number(), boot.ends.memory.number()};
  if (failpoint::table_descriptor() >= 0) {
    keep.push_back(failpoint::table_descriptor());
  }
  for (const int number : keep) {
    role += ":" + std::to_string(number);
  }
  std::sort(keep.begin(), keep.end());
  const execution anew{self, role};
  const pid_t pid = fork_to_execute();
  if (pid != 0) {
    return pid;
  }
  settle(boot, parent);
  close_all_between(keep);
  TROUPE_FAILPOINT("worker.forked");
  for (const int number : keep) {
    ::fcntl(number, F_SETFD, 0);
  }
  int code = TROUPE_FAILPOINT_ERRNO("worker.exec");
  if (code == 0) {
    anew.run();
    code = errno;
  }
  // The supervisor waits for a hello on this socket, and gets the reason instead.
  constexpr std::string_view words = "Hexec failed:";
  std::array<char, 32> text{};
  std::copy(words.begin(), words.end(), text.begin());
  const auto end = std::to_chars(text.data() + words.size(), text.data() + text.size(), code).ptr;
  sys::send(boot.ends.socket.number(),
            std::as_bytes(std::span{text}).first(static_cast<std::size_t>(end - text.data())), {},
            true);
  ::_exit(127);
}

void become_worker(worker_boot&& boot, const program& self, pid_t parent) {
  settle(boot, parent);
  // The child may use the handles of shared objects in its variables, and send them to others.
  close_inherited({&boot.ends.socket, &boot.ends.memory});
  TROUPE_FAILPOINT("worker.forked");
  set_worker_id(boot.id);
  ::prctl(PR_SET_NAME, ("troupe-w" + std::to_string(boot.id)).c_str());
  self.entry(std::move(boot));
  ::_exit(0);
}

exit_status to_exit_status(int status) {
  if (WIFSIGNALED(status)) {
    return killed_by{WTERMSIG(status)};
  }
  return exited{WEXITSTATUS(status)};
}

resource_usage to_resource_usage(const rusage& usage) {
  const auto microseconds = [](const timeval& time) {
    return std::int64_t{time.tv_sec} * 1'000'000 + time.tv_usec;
  };
  return {usage.ru_maxrss, microseconds(usage.ru_utime), microseconds(usage.ru_stime)};
}

}  // namespace troupe::detail::child

namespace troupe::detail {
namespace {

program& remembered_program() {
  static auto* const instance = new program;
  return *instance;
}

/// Splits "worker:3:7:8" into its parts after the first.
std::vector<std::uint64_t> numbers_of(std::string_view text) {
  std::vector<std::uint64_t> numbers;
  while (!text.empty()) {
    const auto colon = text.find(':');
    const std::string_view part = text.substr(0, colon);
    std::uint64_t number = 0;
    if (std::from_chars(part.data(), part.data() + part.size(), number).ec != std::errc{}) {
      return {};
    }
    numbers.push_back(number);
    text = colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
  }
  return numbers;
}

/// Undoes what static initializers, and main before its system, have blocked or ignored, so that
/// SIGTERM and SIGCHLD work in every worker. Handlers that they installed stay.
void undo_signal_settings() {
  struct sigaction current{};
  if (::sigaction(SIGCHLD, nullptr, &current) == 0 &&
      (current.sa_handler == SIG_IGN || (current.sa_flags & SA_NOCLDWAIT) != 0)) {
    ::signal(SIGCHLD, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

descriptor inherited(std::uint64_t number) {
  descriptor d{static_cast<int>(number)};
  ::fcntl(d.number(), F_SETFD, FD_CLOEXEC);
  return d;
}

}  // namespace

const program& this_program() {
  return remembered_program();
}

void take_role(const program& self) {
  remembered_program() = self;
  const char* text = std::getenv(child::role_variable);
  if (text == nullptr) {
    return;
  }
  const std::string role{text};
  // Removed from the environment: a program that a task starts must not begin as a worker.
  ::unsetenv(child::role_variable);
  const bool is_process = role.starts_with("process:");
  if (is_process || role.starts_with("worker:")) {
    const auto numbers = numbers_of(std::string_view{role}.substr(role.find(':') + 1));
    if (numbers.size() < 3) {
      return;
    }
    worker_boot boot;
    boot.id = numbers[0];
    boot.method = start_method::spawn;
    boot.is_process = is_process;
    boot.ends = {inherited(numbers[1]), inherited(numbers[2]), {}};
    if (numbers.size() > 3) {
      failpoint::adopt_table(static_cast<int>(numbers[3]));
    }
    undo_signal_settings();
    set_worker_id(boot.id);
    ::prctl(PR_SET_NAME, ("troupe-w" + std::to_string(boot.id)).c_str());
    self.entry(std::move(boot));
    ::_exit(0);
  }
  if (role.starts_with("server:")) {
    const auto numbers = numbers_of(std::string_view{role}.substr(7));
    if (numbers.size() < 2) {
      return;
    }
    if (numbers.size() > 2) {
      failpoint::adopt_table(static_cast<int>(numbers[2]));
    }
    child::serve(inherited(numbers[0]), self, static_cast<pid_t>(numbers[1]));
  }
}

}  // namespace troupe::detail
