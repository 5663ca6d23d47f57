// SPDX-License-Identifier: BSD-3-Clause
#include "support/run_program.hpp"

#include "support/eventually.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <stdexcept>
#include <system_error>

extern char** environ;

namespace troupe::test {

run_result run_program(const std::vector<std::string>& command,
                       const std::vector<std::string>& environment) {
  std::array<int, 2> out{};
  if (::pipe2(out.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error{"no pipe"};
  }
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out[1], STDERR_FILENO);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  std::vector<char*> arguments;
  for (const std::string& one : command) {
    arguments.push_back(const_cast<char*>(one.c_str()));
  }
  arguments.push_back(nullptr);
  std::vector<char*> variables;
  for (char** one = environ; *one != nullptr; ++one) {
    variables.push_back(*one);
  }
  for (const std::string& one : environment) {
    variables.push_back(const_cast<char*>(one.c_str()));
  }
  variables.push_back(nullptr);
  pid_t pid = -1;
  const int code = ::posix_spawn(&pid, command.front().c_str(), &actions, &attributes,
                                 arguments.data(), variables.data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(out[1]);
  if (code != 0) {
    ::close(out[0]);
    throw std::system_error{code, std::generic_category(), command.front()};
  }
  run_result result;
  const auto until = std::chrono::steady_clock::now() + 2 * eventually_deadline;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    pollfd wait{out[0], POLLIN, 0};
    if (left.count() <= 0 || ::poll(&wait, 1, static_cast<int>(left.count())) == 0) {
      ::kill(-pid, SIGKILL);
      break;
    }
    std::array<char, 4096> buffer{};
    const ssize_t n = ::read(out[0], buffer.data(), buffer.size());
    if (n == 0) {
      result.ended = true;
      break;
    }
    if (n > 0) {
      result.output.append(buffer.data(), static_cast<std::size_t>(n));
    }
  }
  ::close(out[0]);
  while (::waitpid(pid, &result.status, 0) < 0 && errno == EINTR) {
  }
  return result;
}

}  // namespace troupe::test
