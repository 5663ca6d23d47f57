// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace troupe {

/// Something in the description of a supervisor or of a child that cannot work.
struct spec_mistake {
  std::string
      child;  ///< its name, with those of the supervisors above; empty: the supervisor itself
  std::string text;  ///< what is wrong
  std::string cure;  ///< what to do about it
  /// Compares all members.
  bool operator==(const spec_mistake&) const = default;
};

}  // namespace troupe
