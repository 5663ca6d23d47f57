// SPDX-License-Identifier: BSD-3-Clause
#include "plain_child.hpp"

#include "budgets.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <system_error>
#include <thread>

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX has it in no header

namespace bench {
namespace {

[[noreturn]] void fail(const char* what) {
  throw std::system_error{errno, std::generic_category(), what};
}

bool transfer_all(int fd, char* buffer, std::size_t bytes, bool out) {
  while (bytes > 0) {
    const ssize_t n = out ? ::write(fd, buffer, bytes) : ::read(fd, buffer, bytes);
    if (n <= 0) {
      return false;
    }
    buffer += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace

plain_child::plain_child(void (*body)(int socket)) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    fail("socketpair");
  }
  pid_ = ::fork();
  if (pid_ < 0) {
    fail("fork");
  }
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // It must not hold the library's descriptors open: their end of file is how a death is
    // noticed.
    ::dup2(ends[1], 3);
    ::syscall(SYS_close_range, 4U, ~0U, 0U);
    body(3);
    ::_exit(0);
  }
  ::close(ends[1]);
  socket_ = ends[0];
}

plain_child::~plain_child() {
  ::close(socket_);
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

forked_child::forked_child(const std::function<void()>& body) : pid_{::fork()} {
  if (pid_ < 0) {
    fail("fork");
  }
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    body();
    ::_exit(0);
  }
}

forked_child::~forked_child() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

double seconds_to_notice_kill() {
  // Executed, not forked: a copy of this process would first have to give back all of its memory.
  std::string name = "sleep";
  std::string long_enough = "1000";
  std::array<char*, 3> arguments{name.data(), long_enough.data(), nullptr};
  pid_t pid = -1;
  if (::posix_spawnp(&pid, "sleep", nullptr, nullptr, arguments.data(), environ) != 0) {
    fail("sleep");
  }
  const int notice = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (notice < 0) {
    fail("pidfd_open");
  }
  // Asleep, as a worker that waits: what is not measured is how long it takes to start.
  std::this_thread::sleep_for(std::chrono::milliseconds{3});
  pollfd ready{notice, POLLIN, 0};
  const auto begin = clock::now();
  ::kill(pid, SIGKILL);
  ::poll(&ready, 1, -1);
  const double taken = seconds_since(begin);
  ::waitpid(pid, nullptr, 0);
  ::close(notice);
  return taken;
}

void echo_64(int socket) {
  std::array<char, 64> buffer{};
  while (transfer_all(socket, buffer.data(), buffer.size(), false) &&
         transfer_all(socket, buffer.data(), buffer.size(), true)) {
  }
}

python_peer::python_peer() {
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) {
    fail("pipe");
  }
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  std::string python = "python3";
  std::string script = TROUPE_BENCH_PEER;
  std::array<char*, 3> arguments{python.data(), script.data(), nullptr};
  const int code = ::posix_spawnp(&pid_, "python3", &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(in[0]);
  ::close(out[1]);
  to_ = in[1];
  from_ = out[0];
  if (code != 0) {
    pid_ = -1;
    return;
  }
  version_ = ask("version 0");
}

python_peer::~python_peer() {
  ::close(to_);  // it ends at the end of its input
  ::close(from_);
  if (pid_ > 0) {
    ::waitpid(pid_, nullptr, 0);
  }
}

std::string python_peer::ask(const std::string& line) {
  // A peer that is gone answers with the end of its output; SIGPIPE must not end us instead.
  struct sigaction ignore{};
  struct sigaction before{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &before);
  std::string message = line + '\n';
  const bool sent = transfer_all(to_, message.data(), message.size(), true);
  ::sigaction(SIGPIPE, &before, nullptr);
  std::string answer;
  char c = 0;
  while (sent && ::read(from_, &c, 1) == 1 && c != '\n') {
    answer += c;
  }
  return answer;
}

double python_peer::seconds(const std::string& what, int times) {
  const std::string answer = ask(what + ' ' + std::to_string(times));
  char* end = nullptr;
  const double value = std::strtod(answer.c_str(), &end);
  if (answer.empty() || *end != '\0') {
    throw std::runtime_error{"peer.py did not measure " + what + ": " + answer};
  }
  return value;
}

int run_quietly(const std::string& shell_command) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): only the main thread runs commands
  const int status = std::system((shell_command + " >/dev/null 2>&1").c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace bench
