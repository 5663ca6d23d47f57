// SPDX-License-Identifier: BSD-3-Clause
// A program with a pool that the tests of a dying supervisor start, look at, and end:
//
//     fault_victim METHOD STATE END
//
// METHOD is a start method. STATE says what its workers do: idle, busy, stay, descendants, nested;
// slow_guardian: descendants, and the fork server is stopped, under `fork` before the first worker.
// END says how the program ends: wait (for a signal), segv, abort, _exit, quick_exit, exit, return,
// static, handler.
// Once all is as asked for, it writes the ids of all its processes to standard output, a line.
#include "troupe/system.hpp"

#include "fault_fixture.hpp"

#include <sys/wait.h>

#include <csignal>
#include <cstdio>
#include <ranges>
#include <sstream>

namespace troupe::test {
namespace {

std::int64_t stay(const std::string& place) {
  report(place, ::getpid());
  for (;;) {
    ::pause();
  }
}

// Ignores what it can, so that only SIGKILL helps.
void become_stubborn(const std::string& place) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    ::signal(number, SIG_IGN);
  }
  report(place, ::getpid());
  for (;;) {
    ::pause();
  }
}

std::int64_t stay_with_descendants(const std::string& place, bool a_daemon_too) {
  if (::fork() == 0) {
    become_stubborn(place);
  }
  if (a_daemon_too) {
    const pid_t first = ::fork();
    if (first == 0) {
      ::setsid();
      if (::fork() == 0) {
        become_stubborn(place);
      }
      ::_exit(0);
    }
    ::waitpid(first, nullptr, 0);
  }
  return stay(place);
}

std::int64_t stay_with_pool(const std::string& place, int depth) {
  if (depth == 0) {
    return stay(place);
  }
  report(place, ::getpid());
  pool_options two;
  two.workers = 2;
  pool p{two};
  std::vector<future<std::int64_t>> tasks;
  for (int i = 0; i < 2; ++i) {
    tasks.push_back(p.apply_async(stay_with_pool, place, depth - 1));
  }
  return tasks.front().get();
}

void tell(const std::string& line) {
  // One write to a pipe: the reader needs no lock and no buffer.
  if (::write(STDOUT_FILENO, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    std::abort();
  }
}

std::optional<pool>& pool_in_static_storage() {
  static std::optional<pool> p;
  return p;
}

volatile std::sig_atomic_t asked_to_end = 0;

void stop_fork_server() {
  for (const process_entry& process : our_processes()) {
    if (process.name == "troupe-server" && process.parent == ::getpid()) {
      ::kill(process.pid, SIGSTOP);
    }
  }
}

int run(const std::string& method, std::string state, const std::string& end) {
  for (const start_method known :
       {start_method::forkserver, start_method::spawn, start_method::fork}) {
    if (to_string(known) == method) {
      set_start_method(known);
    }
  }
  const temp_dir dir;
  const std::string place = (dir.path() / "place").string();
  pool_options options;
  options.workers = 4;
  options.grace = 200ms;
  std::optional<pool> own;
  std::optional<pool>& p = end == "static" ? pool_in_static_storage() : own;
  const bool slow_guardian = state == "slow_guardian";
  if (slow_guardian) {
    state = "descendants";
    if (method == "fork") {
      stop_fork_server();
    }
  }
  p.emplace(options);
  std::vector<future<std::int64_t>> tasks;
  std::size_t expected = 0;
  for (int i = 0; i < options.workers && state != "idle"; ++i) {
    if (state == "busy") {
      for (int j = 0; j < 500; ++j) {
        tasks.push_back(p->apply_async(own_pid, 0));
      }
    } else if (state == "stay") {
      tasks.push_back(p->apply_async(stay, place));
      expected += 1;
    } else if (state == "descendants") {
      const bool a_daemon_too = method != "fork";
      tasks.push_back(p->apply_async(stay_with_descendants, place, a_daemon_too));
      expected += a_daemon_too ? 3 : 2;
    } else if (state == "nested") {
      tasks.push_back(p->apply_async(stay_with_pool, place, 2));
      expected += 1 + 2 + 4;
      break;
    }
  }
  // A loaded machine may need long for a tree of pools.
  if (!eventually([&] { return reported(place).size() >= expected; })) {
    return 3;
  }
  if (slow_guardian) {
    stop_fork_server();
  }
  std::ostringstream pids;
  pids << ::getpid();
  for (const process_entry& process : our_processes()) {
    pids << ' ' << process.pid;
  }
  std::filesystem::remove(place);
  std::filesystem::remove(dir.path());
  tell(pids.str() + '\n');
  if (state == "busy" && end == "wait") {
    for (;;) {  // until the signal comes
      for (auto& one : p->map(own_pid, std::views::iota(0, 1000))) {
        static_cast<void>(one);
      }
    }
  }
  if (end == "wait") {
    for (;;) {
      ::pause();
    }
  }
  if (end == "handler") {
    while (asked_to_end == 0) {
      ::usleep(1000);
    }
    p->terminate();
    p->join();
    for (const auto& one : tasks) {
      if (!one.ready()) {
        return 4;
      }
    }
    return 0;
  }
  if (end == "segv") {
    ::signal(SIGSEGV, SIG_DFL);
    ::raise(SIGSEGV);
  } else if (end == "abort") {
    ::signal(SIGABRT, SIG_DFL);
    std::abort();
  } else if (end == "_exit") {
    ::_exit(5);
  } else if (end == "quick_exit") {
    std::quick_exit(6);
  } else if (end == "exit") {
    std::exit(7);  // NOLINT(concurrency-mt-unsafe): what is tested
  }
  return 8;
}

}  // namespace
}  // namespace troupe::test

int main(int argc, char** argv) {
  const troupe::system system{argc, argv};
  if (argc != 4) {
    return 2;
  }
  if (std::string{argv[3]} == "handler") {
    ::signal(SIGTERM, [](int) { troupe::test::asked_to_end = 1; });
    ::signal(SIGINT, [](int) { troupe::test::asked_to_end = 1; });
  }
  return troupe::test::run(argv[1], argv[2], argv[3]);
}
