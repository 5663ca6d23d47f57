// SPDX-License-Identifier: BSD-3-Clause
#include "tree.hpp"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <system_error>
#include <utility>

namespace census {
namespace {

namespace fs = std::filesystem;

/// Files there are made up when they are read: without an end, without a size, never twice equal.
bool is_kernel_file_system(const fs::path& directory) {
  struct statfs status{};
  if (::statfs(directory.c_str(), &status) != 0) {
    return false;
  }
  switch (static_cast<unsigned long>(status.f_type)) {
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
    case DEBUGFS_MAGIC:
    case TRACEFS_MAGIC:
    case SECURITYFS_MAGIC:
    case BPF_FS_MAGIC:
      return true;
    default:
      return false;
  }
}

bool is_below(const fs::path& path, const fs::path& ancestor) {
  const auto [at, unused] =
      std::mismatch(ancestor.begin(), ancestor.end(), path.begin(), path.end());
  return at == ancestor.end();
}

}  // namespace

tree::tree(fs::path root) {
  waiting_.push_back(std::move(root));
}

void tree::advance() {
  current_.reset();
  while (!current_) {
    if (entries_ == fs::directory_iterator{}) {
      if (!open_next_directory()) {
        return;
      }
      continue;
    }
    look_at(*entries_);
    std::error_code error;
    entries_.increment(error);
    if (error) {
      problems_.add(problem_kind::unreadable_directory, directory_.native());
      entries_ = {};
    }
  }
}

bool tree::open_next_directory() {
  if (waiting_.empty()) {
    return false;
  }
  directory_ = std::move(waiting_.back());
  waiting_.pop_back();
  if (is_kernel_file_system(directory_)) {
    problems_.add(problem_kind::pseudo_file_system, directory_.native());
    return true;
  }
  std::error_code error;
  entries_ = fs::directory_iterator{directory_, error};
  if (error) {
    problems_.add(kind_of_errno(error.value(), problem_kind::unreadable_directory),
                  directory_.native());
    entries_ = {};
  } else {
    ++directories_;
  }
  return true;
}

void tree::look_at(const fs::directory_entry& entry) {
  std::error_code error;
  switch (entry.symlink_status(error).type()) {
    case fs::file_type::regular:
      current_ = entry.path().native();
      break;
    case fs::file_type::directory:
      waiting_.push_back(entry.path());
      break;
    case fs::file_type::symlink:
      report_link(entry.path());
      break;
    case fs::file_type::none:
    case fs::file_type::not_found:
      problems_.add(kind_of_errno(error.value(), problem_kind::unreadable_file),
                    entry.path().native());
      break;
    default:
      problems_.add(problem_kind::special_file, entry.path().native());
      break;
  }
}

void tree::report_link(const fs::path& link) {
  std::error_code error;
  const fs::path target = fs::canonical(link, error);
  problem_kind kind = problem_kind::symbolic_link;
  if (error == std::errc::too_many_symbolic_link_levels) {
    kind = problem_kind::symbolic_link_loop;
  } else if (error) {
    kind = problem_kind::dangling_link;
  } else if (is_below(fs::canonical(link.parent_path(), error), target)) {
    // A walk that followed it would come by here again.
    kind = problem_kind::symbolic_link_loop;
  }
  problems_.add(kind, link.native());
}

}  // namespace census
