// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/processes.hpp"

#include <chrono>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace troupe::test {

/// What a process holds at one moment, in the words of a failure message, each with its count.
struct holdings {
  std::map<std::string, int> descriptors;    // "pipe", "anon_inode:[eventfd]", "file device:inode"
  std::map<std::string, std::string> paths;  // what a "file device:inode" is called by now
  std::map<std::string, int> shared_mappings;  // "/memfd:name (deleted)"
  std::map<std::string, int> threads;          // by name
};

/// Remembers what this process and its helpers own, and tells what was left behind since.
///
/// Looks at: our processes, zombies among them; descriptors, shared mappings and threads, of this
/// process and of those of its processes that were there before (the fork server); names in /dev/shm
/// and the temporary folders that start with "troupe" or, as those of `unique_name` do, with the
/// prefix of this program; the signal mask and dispositions, working directory and umask of this
/// process. Fewer is reported like more: closing what belongs to the
/// host program is a bug too.
class leak_check {
 public:
  /// Remembers now.
  leak_check();

  /// Neither this process nor what it holds is looked at from now on.
  void ignore_process(int pid);

  /// Empty when all is as it was, else one line for each difference. Dying takes others a moment,
  /// so it looks again until the limit.
  [[nodiscard]] std::string leftovers(std::chrono::milliseconds limit) const;

 private:
  struct snapshot {
    std::vector<process_entry> processes;
    std::map<int, holdings> held;  // by pid
    std::set<std::string> names;
    std::map<std::string, std::string> host;  // signal mask and so on
  };
  static snapshot look();
  [[nodiscard]] std::string differences() const;

  snapshot before_;
  std::set<int> ignored_;
};

}  // namespace troupe::test
