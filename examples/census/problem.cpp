// SPDX-License-Identifier: BSD-3-Clause
#include "problem.hpp"

#include <cerrno>
#include <iterator>

namespace census {

std::string_view to_string(problem_kind kind) noexcept {
  switch (kind) {
    case problem_kind::none:
      return "none";
    case problem_kind::unreadable_file:
      return "file that cannot be opened";
    case problem_kind::unreadable_directory:
      return "directory that cannot be opened";
    case problem_kind::vanished:
      return "vanished meanwhile";
    case problem_kind::replaced:
      return "no regular file any more";
    case problem_kind::read_failed:
      return "error while reading";
    case problem_kind::symbolic_link:
      return "symbolic link, not followed";
    case problem_kind::symbolic_link_loop:
      return "symbolic link loop, not followed";
    case problem_kind::dangling_link:
      return "symbolic link to nowhere";
    case problem_kind::special_file:
      return "fifo, socket or device, skipped";
    case problem_kind::pseudo_file_system:
      return "kernel file system, skipped";
    case problem_kind::worker_lost:
      return "worker died, no retries left";
  }
  return "unknown";
}

problem_kind kind_of_errno(int error, problem_kind otherwise) noexcept {
  switch (error) {
    case ENOENT:
      return problem_kind::vanished;
    case ELOOP:    // O_NOFOLLOW met a link where the walk had seen a file
    case ENXIO:    // and here a socket
    case ENOTDIR:  // and here something that is no directory any more
      return problem_kind::replaced;
    default:
      return otherwise;
  }
}

void problem_log::add(problem_kind kind, const std::string& path) {
  const auto index = static_cast<std::size_t>(kind);
  ++counts_[index];
  add_sample(index, path);
}

void problem_log::add(const problem_log& other) {
  for (std::size_t kind = 0; kind < problem_kinds; ++kind) {
    counts_[kind] += other.counts_[kind];
    for (const std::string& path : other.samples_[kind]) {
      add_sample(kind, path);
    }
  }
}

void problem_log::add_sample(std::size_t kind, const std::string& path) {
  constexpr std::size_t most_samples = 3;
  std::set<std::string>& names = samples_[kind];
  names.insert(path);
  if (names.size() > most_samples) {
    names.erase(std::prev(names.end()));
  }
}

}  // namespace census
