// SPDX-License-Identifier: BSD-3-Clause
#include "support/leak_check.hpp"

#include "support/eventually.hpp"
#include "support/unique_name.hpp"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <system_error>
#include <thread>

namespace troupe::test {
namespace {

namespace fs = std::filesystem;

// "socket:[4711]" and "pipe:[4711]" lose their number: a connection may be replaced, not added.
std::string kind_of(const std::string& target) {
  for (const std::string_view kind : {"socket", "pipe"}) {
    if (target.starts_with(std::string{kind} + ":[")) {
      return std::string{kind};
    }
  }
  return target;
}

// What tells one file from all others whatever it is called: others may rename or remove a file
// that is open here. (CTest hands its own log to every test, and a second CTest replaces that log.)
std::string identity_of(const fs::path& link) {
  struct stat status{};
  if (::stat(link.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return {};
  }
  return "file " + std::to_string(status.st_dev) + ':' + std::to_string(status.st_ino);
}

void look_at_descriptors(const fs::path& process, bool helper, holdings& held) {
  std::error_code gone;
  const fs::path folder = process / "fd";
  for (fs::directory_iterator it{folder, gone}, end; !gone && it != end; it.increment(gone)) {
    std::error_code closed;
    const std::string target = fs::read_symlink(it->path(), closed).string();
    // The descriptor that lists this very folder is not counted; it is closed again by now. Nor is
    // what the fork server opens for a moment to look for orphans, at no time that a test knows.
    const std::string passing = helper ? "/proc" : "/proc/" + std::to_string(::getpid()) + "/fd";
    if (closed || target.starts_with(passing)) {
      continue;
    }
    const std::string file =
        target.starts_with("/memfd:") ? std::string{} : identity_of(it->path());
    ++held.descriptors[file.empty() ? kind_of(target) : file];
    if (!file.empty()) {
      held.paths[file] = target;
    }
  }
}

std::map<std::string, int> shared_mappings_of(const fs::path& process) {
  std::map<std::string, int> result;
  std::ifstream maps{process / "maps"};
  for (std::string line; std::getline(maps, line);) {
    // address perms offset dev inode name; the fourth letter of perms is s for shared.
    std::istringstream fields{line};
    std::string address, permissions, offset, device, inode, name;
    fields >> address >> permissions >> offset >> device >> inode;
    std::getline(fields >> std::ws, name);
    if (permissions.size() == 4 && permissions[3] == 's') {
      ++result[name];
    }
  }
  return result;
}

std::map<std::string, int> threads_of(const fs::path& process) {
  std::map<std::string, int> result;
  std::error_code gone;
  const fs::path folder = process / "task";
  for (fs::directory_iterator it{folder, gone}, end; !gone && it != end; it.increment(gone)) {
    std::string name;
    if (std::ifstream comm{it->path() / "comm"}; std::getline(comm, name)) {
      ++result[name];
    }
  }
  return result;
}

holdings held_by(int pid) {
  const fs::path process = fs::path{"/proc"} / std::to_string(pid);
  holdings result;
  look_at_descriptors(process, pid != ::getpid(), result);
  result.shared_mappings = shared_mappings_of(process);
  result.threads = threads_of(process);
  return result;
}

std::set<std::string> names_of_ours() {
  std::vector<fs::path> folders{"/dev/shm", fs::temp_directory_path()};
  if (const char* runtime = ::getenv("XDG_RUNTIME_DIR")) {
    folders.emplace_back(runtime);
  }
  std::set<std::string> result;
  for (const fs::path& folder : folders) {
    std::error_code failed;
    for (fs::directory_iterator it{folder, failed}, end; !failed && it != end;
         it.increment(failed)) {
      // Other programs use these folders too, other tests at the same time: only our name counts.
      const std::string name = it->path().filename().string();
      if (name.starts_with("troupe") || name.starts_with("sem.troupe") ||
          name.starts_with(unique_prefix())) {
        result.insert(it->path().string());
      }
    }
  }
  return result;
}

std::map<std::string, std::string> host_state() {
  std::map<std::string, std::string> result;
  std::ifstream status{"/proc/self/status"};
  for (std::string line; std::getline(status, line);) {
    const std::string key = line.substr(0, line.find(':'));
    const std::string value = line.substr(std::min(line.size(), key.size() + 2));  // ":" and a tab
    if (key == "SigBlk" || key == "SigIgn" || key == "SigCgt") {
      // One bit per signal. 32 and 33 are the C library's own, caught from the first thread on.
      constexpr std::uint64_t internal = std::uint64_t{3} << 31U;
      std::ostringstream rest;
      rest << std::hex << (std::stoull(value, nullptr, 16) & ~internal);
      result[key] = rest.str();
    } else if (key == "Umask") {
      result[key] = value;
    }
  }
  std::error_code failed;
  result["cwd"] = fs::current_path(failed).string();
  return result;
}

void compare(std::ostream& out, const std::string& what, const std::map<std::string, int>& before,
             const std::map<std::string, int>& now,
             const std::map<std::string, std::string>& paths = {}) {
  std::map<std::string, int> change = now;
  for (const auto& [name, count] : before) {
    change[name] -= count;
  }
  for (const auto& [name, count] : change) {
    if (count != 0) {
      const auto path = paths.find(name);
      out << "  " << what << ": " << (count > 0 ? "+" : "") << count << ' '
          << (path != paths.end() ? path->second
              : name.empty()      ? "(no name)"
                                  : name)
          << '\n';
    }
  }
}

}  // namespace

leak_check::leak_check() {
#if defined(__SANITIZE_THREAD__)
  // With the first thread of a process ThreadSanitizer starts one of its own, which stays. Joining
  // a thread does not wait until the kernel lists it no more.
  const std::string here = "/proc/self/task/";
  std::atomic<int> first{0};
  std::thread{[&] { first = ::gettid(); }}.join();
  eventually([&] { return !fs::exists(here + std::to_string(first)); });
#endif
  before_ = look();
}

void leak_check::ignore_process(int pid) {
  ignored_.insert(pid);
}

leak_check::snapshot leak_check::look() {
  snapshot result;
  result.processes = our_processes();
  result.held[::getpid()] = held_by(::getpid());
  for (const process_entry& process : result.processes) {
    result.held[process.pid] = held_by(process.pid);
  }
  result.names = names_of_ours();
  result.host = host_state();
  return result;
}

std::string leak_check::differences() const {
  const snapshot now = look();
  std::ostringstream out;
  // A process is the same one when its pid was not used again, whatever it does now.
  const auto was_there = [&](const process_entry& process) {
    return std::ranges::any_of(before_.processes, [&](const process_entry& old) {
      return old.pid == process.pid && old.started_at == process.started_at &&
             (process.state != 'Z' || old.state == 'Z');
    });
  };
  std::set<int> compared{::getpid()};
  for (const process_entry& process : now.processes) {
    if (ignored_.contains(process.pid)) {
      continue;
    }
    if (was_there(process)) {
      compared.insert(process.pid);
    } else {
      out << "  process: " << (process.state == 'Z' ? "zombie " : "") << process.pid << " ("
          << process.name << ") state " << process.state << " parent " << process.parent << '\n';
    }
  }
  for (const int pid : compared) {
    const std::string of = pid == ::getpid() ? std::string{} : " of process " + std::to_string(pid);
    const holdings& then = before_.held.at(pid);
    const holdings& today = now.held.at(pid);
    std::map<std::string, std::string> paths = today.paths;
    paths.insert(then.paths.begin(), then.paths.end());
    compare(out, "descriptors" + of, then.descriptors, today.descriptors, paths);
    compare(out, "shared mappings" + of, then.shared_mappings, today.shared_mappings);
    compare(out, "threads" + of, then.threads, today.threads);
  }
  for (const std::string& name : now.names) {
    if (!before_.names.contains(name)) {
      out << "  name: " << name << '\n';
    }
  }
  for (const auto& [key, value] : now.host) {
    const auto then = before_.host.find(key);
    if (then == before_.host.end() || then->second != value) {
      out << "  " << key << ": " << value << ", was "
          << (then == before_.host.end() ? "unknown" : then->second) << '\n';
    }
  }
  return out.str();
}

std::string leak_check::leftovers(std::chrono::milliseconds limit) const {
  std::string found;
  static_cast<void>(eventually([&] { return (found = differences()).empty(); }, limit));
  return found;
}

}  // namespace troupe::test
