// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/child_status.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace troupe {

/// How many children a supervisor has at one moment.
struct child_counts {
  std::size_t all = 0;      ///< all that it knows
  std::size_t active = 0;   ///< that have a process, or what they are instead
  std::size_t running = 0;  ///< that are ready
  std::size_t dynamic = 0;  ///< that were added while it ran
};

/// All children of a supervisor at one moment.
struct children_picture {
  std::uint64_t version = 0;           ///< grows with every change
  std::vector<child_status> children;  ///< in the order of starts
};

/// A supervisor that runs, with all below it, at one moment; the picture of each is consistent.
struct supervisor_status {
  std::string name;                      ///< `supervisor_options::name`; of the root "system"
  std::string path;                      ///< from the one that was asked: "web"; empty: that one
  children_picture picture;              ///< its children
  std::vector<supervisor_status> below;  ///< those of its children that are supervisors
  std::vector<std::string> kept;         ///< the names of the objects that it keeps
};

}  // namespace troupe
