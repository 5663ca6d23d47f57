// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace troupe::test {

/// One process as /proc shows it.
struct process_entry {
  int pid = 0;
  int parent = 0;
  char state = '?';              // R, S, D, T, Z, ...
  std::uint64_t started_at = 0;  // ticks since boot: tells a reused pid from the old process
  std::string name;
  bool operator==(const process_entry&) const = default;
};

/// Processes that this one is responsible for: its descendants, and whatever else carries the mark
/// of mark_process_tree(). Does not contain this process. Zombies are contained.
[[nodiscard]] std::vector<process_entry> our_processes();

/// Gives this process and everything it will ever start a mark in its environment, by which
/// our_processes() finds also a process that was orphaned or left into a session of its own.
///
/// The kernel shows the environment a program was started with, so this executes the program again,
/// once. For the first line of main(), before there is anything to lose.
void mark_process_tree(char** argv);

/// That mark, which is a number; empty: there is none.
[[nodiscard]] std::string mark_of_process_tree();

/// Whether every thread but the calling one has a name of its own instead of the program's, which a
/// new thread has for a moment.
[[nodiscard]] bool threads_have_names();

/// A text for people about this process and ours: for each thread what it is called, whether it
/// runs, and where in the kernel it waits.
[[nodiscard]] std::string describe_our_processes();

}  // namespace troupe::test
