// SPDX-License-Identifier: BSD-3-Clause
#include "support/processes.hpp"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>
#include <system_error>

namespace troupe::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* mark_name = "TROUPE_TEST_MARK";

// Empty when the process is gone or not ours to look at: every reader here must live with that.
std::string read_all(const fs::path& file) {
  // A process that ends meanwhile is a read error, which << only notes and iterators throw.
  const std::ifstream in{file, std::ios::binary};
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// Entries of a folder of numbers, as /proc and /proc/PID/task.
std::vector<int> numbers_in(const fs::path& folder) {
  std::vector<int> result;
  std::error_code gone;
  for (fs::directory_iterator it{folder, gone}, end; !gone && it != end; it.increment(gone)) {
    const std::string name = it->path().filename().string();
    int number = 0;
    const auto [rest, problem] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (problem == std::errc{} && rest == name.data() + name.size()) {
      result.push_back(number);
    }
  }
  return result;
}

std::optional<process_entry> read_process(int pid) {
  // "pid (name) state ppid ...": the name may hold blanks and parentheses, so the last one ends it.
  const std::string stat = read_all(fs::path{"/proc"} / std::to_string(pid) / "stat");
  const std::size_t open = stat.find('(');
  const std::size_t close = stat.rfind(')');
  if (open == std::string::npos || close == std::string::npos) {
    return std::nullopt;
  }
  process_entry entry;
  entry.pid = pid;
  entry.name = stat.substr(open + 1, close - open - 1);
  std::istringstream fields{stat.substr(close + 1)};
  fields >> entry.state >> entry.parent;
  std::string skipped;
  for (int field = 5; field < 22; ++field) {  // proc(5) counts from 1; starttime is number 22
    fields >> skipped;
  }
  fields >> entry.started_at;
  return entry;
}

bool carries_mark(int pid, std::string_view mark) {
  const std::string environment =
      '\0' + read_all(fs::path{"/proc"} / std::to_string(pid) / "environ") + '\0';
  return environment.find('\0' + std::string{mark} + '\0') != std::string::npos;
}

std::string first_line(const fs::path& file) {
  std::string text = read_all(file);
  return text.substr(0, text.find('\n'));
}

void describe(std::ostream& out, const process_entry& process) {
  const fs::path folder = fs::path{"/proc"} / std::to_string(process.pid);
  std::string command = read_all(folder / "cmdline");
  std::replace(command.begin(), command.end(), '\0', ' ');
  out << "process " << process.pid << " (" << process.name << ") state " << process.state
      << " parent " << process.parent << ": " << command << '\n';
  for (const int thread : numbers_in(folder / "task")) {
    const fs::path task = folder / "task" / std::to_string(thread);
    out << "  thread " << thread << " (" << first_line(task / "comm") << ") waits in "
        << first_line(task / "wchan") << ", system call " << first_line(task / "syscall") << '\n';
    std::istringstream stack{read_all(task / "stack")};  // root alone may read it
    for (std::string line; std::getline(stack, line);) {
      out << "    " << line << '\n';
    }
  }
}

}  // namespace

std::vector<process_entry> our_processes() {
  std::map<int, process_entry> all;
  for (const int pid : numbers_in("/proc")) {
    if (auto entry = read_process(pid)) {
      all.emplace(pid, std::move(*entry));
    }
  }
  const std::string mark_value = mark_of_process_tree();
  const std::string mark =
      mark_value.empty() ? std::string{} : std::string{mark_name} + '=' + mark_value;
  std::set<int> ours{::getpid()};
  // Children after parents is not the order of pids, so repeat until nothing is added.
  for (std::size_t before = 0; before != ours.size();) {
    before = ours.size();
    for (const auto& [pid, entry] : all) {
      if (ours.contains(entry.parent)) {
        ours.insert(pid);
      }
    }
  }
  std::vector<process_entry> result;
  for (auto& [pid, entry] : all) {
    if (pid != ::getpid() && (ours.contains(pid) || (!mark.empty() && carries_mark(pid, mark)))) {
      result.push_back(std::move(entry));
    }
  }
  return result;
}

std::string mark_of_process_tree() {
  const char* const mark = ::getenv(mark_name);
  return mark == nullptr ? std::string{} : std::string{mark};
}

void mark_process_tree(char** argv) {
  if (::getenv(mark_name) != nullptr) {
    return;
  }
  ::setenv(mark_name, std::to_string(::getpid()).c_str(), 1);
  std::error_code failed;
  const fs::path self = fs::read_symlink("/proc/self/exe", failed);
  if (!failed) {
    ::execv(self.c_str(), argv);
  }
  // Without /proc or exec the tests still run, and find less.
}

bool threads_have_names() {
  const fs::path threads = "/proc/self/task";
  const int here = ::gettid();
  const std::string program = first_line(threads / std::to_string(here) / "comm");
  std::ptrdiff_t nameless = std::ranges::count_if(numbers_in(threads), [&](int thread) {
    return thread != here && first_line(threads / std::to_string(thread) / "comm") == program;
  });
#if defined(__SANITIZE_THREAD__)
  --nameless;  // its own
#endif
  return nameless <= 0;
}

std::string describe_our_processes() {
  std::ostringstream out;
  if (const auto self = read_process(::getpid())) {
    describe(out, *self);
  }
  for (const process_entry& process : our_processes()) {
    describe(out, process);
  }
  return out.str();
}

}  // namespace troupe::test
