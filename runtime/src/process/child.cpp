// SPDX-License-Identifier: BSD-3-Clause
#include "process/child.hpp"

#include "troupe/detail/futex.hpp"
#include "troupe/detail/region.hpp"

#include "os/failpoint.hpp"
#include "os/leave.hpp"
#include "os/sys.hpp"
#include "process/identity.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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
  // As exec would do: handlers go, what was ignored stays ignored, but for those below.
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction current{};
    if (::sigaction(number, nullptr, &current) == 0 && current.sa_handler != SIG_IGN &&
        current.sa_handler != SIG_DFL) {
      ::signal(number, SIG_DFL);
    }
  }
  ::signal(SIGCHLD, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
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
  reset_signals(!boot.is_process);
  if (boot.method == start_method::fork) {
    // A group in the background of the program's terminal, which none brings to the front: a task
    // that reads from it or sets it up would stop for ever. Others have no terminal.
    ::signal(SIGTTIN, SIG_IGN);
    ::signal(SIGTTOU, SIG_IGN);
  }
  plug_standard_streams();
  if (boot.ends.errors) {
    ::dup2(boot.ends.errors.number(), STDERR_FILENO);
    boot.ends.errors.reset();
  }
}

}  // namespace

bool may_execute_itself() {
  return ::getauxval(AT_SECURE) == 0;
}

pid_t start_executed(worker_boot&& boot, const program& self, pid_t parent) {
  if (!may_execute_itself()) {
    errno = EPERM;
    return -1;
  }
  std::string role = (boot.is_process ? "process:" : "worker:") + std::to_string(boot.id);
  std::vector<int> keep{boot.ends.socket.number(), boot.ends.memory.number()};
  if (failpoint::table_descriptor() >= 0) {
    keep.push_back(failpoint::table_descriptor());
  }
  role += ":" + std::to_string(keep[0]) + ":" + std::to_string(keep[1]) + ":" +
          std::to_string(boot.program);
  if (keep.size() > 2) {
    role += ":" + std::to_string(keep[2]);
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
  if (boot.method == start_method::fork) {
    drop_copied_output();
  }
  if (boot.method != start_method::fork) {  // the others have no parent that would look at it
    mark_this_process(mark_of_worker(parent, boot.id));
  }
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

/// Undoes what static initializers, and main before its system, have said of the signals by which a
/// process is asked to end and hears of its children, and what they have blocked: a handler of the
/// program would have its worker go on after SIGTERM, or take the exit status of what a task has
/// started. Other handlers stay, because libraries need theirs in each process (a collector that
/// stops threads, say).
void undo_signal_settings(bool ignore_interrupt) {
  for (const int number : {SIGTERM, SIGCHLD}) {
    ::signal(number, SIG_DFL);
  }
  for (const int number : {SIGHUP, SIGQUIT}) {
    struct sigaction current{};
    if (::sigaction(number, nullptr, &current) == 0 && current.sa_handler != SIG_IGN) {
      ::signal(number, SIG_DFL);
    }
  }
  ::signal(SIGINT, ignore_interrupt ? SIG_IGN : SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void refuse_role(const std::string& role, const char* why) {
  throw error{errc::protocol_error, task_ran::no,
              std::string{child::role_variable} + "=" + role +
                  " is in the environment of this program, but " + why +
                  ". troupe sets this variable for programs that it executes, which remove it"};
}

/// Whether `number` can be the end of a channel, or of the fork server's requests.
bool is_own_kind_of_socket(int number) {
  int domain = 0;
  int type = 0;
  socklen_t bytes = sizeof domain;
  return ::getsockopt(number, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 &&
         ::getsockopt(number, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && domain == AF_UNIX &&
         type == SOCK_SEQPACKET;
}

/// Memory, not a file on a disk.
bool is_own_kind_of_memory(int number) {
  return ::fcntl(number, F_GET_SEALS) >= 0;
}

/// What a role names. Nothing is done with a number before it has turned out to be what it should.
class inherited_descriptors {
 public:
  inherited_descriptors(const std::string& role, std::span<const std::uint64_t> numbers)
      : role_{role}, numbers_{numbers} {}

  [[nodiscard]] descriptor socket(std::size_t index) const {
    return checked(index, &is_own_kind_of_socket);
  }
  [[nodiscard]] descriptor memory(std::size_t index) const {
    return checked(index, &is_own_kind_of_memory);
  }

 private:
  [[nodiscard]] descriptor checked(std::size_t index, bool (*is_right)(int)) const {
    const std::uint64_t number = numbers_[index];
    if (number <= STDERR_FILENO || number > INT_MAX || !is_right(static_cast<int>(number))) {
      refuse_role(role_, "the descriptors that it names are not the ends of a channel");
    }
    descriptor d{static_cast<int>(number)};
    ::fcntl(d.number(), F_SETFD, FD_CLOEXEC);
    return d;
  }

  const std::string& role_;
  std::span<const std::uint64_t> numbers_;
};

}  // namespace

const program& this_program() {
  return remembered_program();
}

void take_role(const program& self) {
  remembered_program() = self;
  const char* text = ::secure_getenv(child::role_variable);
  if (text == nullptr) {
    // In a set-uid program the variable is what another user wants it to do.
    ::unsetenv(child::role_variable);
    return;
  }
  const std::string role{text};
  // Removed from the environment: a program that a task starts must not begin as a worker.
  ::unsetenv(child::role_variable);
  const auto numbers = numbers_of(std::string_view{role}.substr(role.find(':') + 1));
  const inherited_descriptors given{role, numbers};
  const bool is_process = role.starts_with("process:");
  const bool is_server = role.starts_with("server:");
  if ((!is_process && !is_server && !role.starts_with("worker:")) ||
      numbers.size() < (is_server ? 2 : 3)) {
    refuse_role(role, "it is no role");
  }
  const auto adopt_failpoints = [&](std::size_t index) {
    if (numbers.size() > index) {
      failpoint::adopt_table(given.memory(index).release());
    }
  };
  if (is_server) {
    descriptor control = given.socket(0);
    adopt_failpoints(2);
    child::serve(std::move(control), self, static_cast<pid_t>(numbers[1]));
  }
  worker_boot boot;
  boot.id = numbers[0];
  boot.method = start_method::spawn;
  boot.is_process = is_process;
  boot.ends = {given.socket(1), given.memory(2), {}};
  boot.program = numbers.size() > 3 ? static_cast<std::int64_t>(numbers[3]) : 0;
  adopt_failpoints(4);
  undo_signal_settings(!is_process);
  child::mark_this_process(child::mark_of_worker(::getppid(), boot.id));
  set_worker_id(boot.id);
  ::prctl(PR_SET_NAME, ("troupe-w" + std::to_string(boot.id)).c_str());
  self.entry(std::move(boot));
  ::_exit(0);
}

}  // namespace troupe::detail
