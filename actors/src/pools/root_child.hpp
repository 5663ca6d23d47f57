// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/supervisor_status.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace troupe::detail {

/// What runs in this process without a parent: a pool, a thread pool, a process, a supervisor at the
/// top. To `system::tree` it is a temporary child of the root.
class root_child {
 public:
  root_child() = default;
  root_child(const root_child&) = delete;
  root_child& operator=(const root_child&) = delete;
  /// It leaves the list.
  virtual ~root_child();

  /// What it is now; the name is what it would like to have. `stopped`: it has ended, and is not
  /// shown.
  ///
  /// @threads any.
  [[nodiscard]] virtual child_status seen() const = 0;

 private:
  friend void list_at_root(const std::shared_ptr<root_child>& child, std::string name);
  std::uint64_t listed_ = 0;  // its number in the list; 0: it is not there
};

/// From now on it is listed, until it is destroyed. One that was listed before gets a new number and
/// name. Takes a few steps, whatever the number of those that are listed.
void list_at_root(const std::shared_ptr<root_child>& child, std::string name);

/// One of those that are listed and have not ended.
struct listed_child {
  std::shared_ptr<root_child> child;
  child_status status;  ///< its name is unique in the list
};

/// All of them, in the order in which they were listed.
struct root_picture {
  std::uint64_t version = 0;  ///< as `children_picture::version`
  std::vector<listed_child> children;
};

/// A look at the list. `seen` is called, and what has ended destroyed, without a lock of the list.
///
/// @threads any.
[[nodiscard]] root_picture look_at_root();

}  // namespace troupe::detail
