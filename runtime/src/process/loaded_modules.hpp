// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "symbols/image_id.hpp"

#include <cstdint>

namespace troupe::detail {

/// Notes which builds of the program and its libraries this process has, and what they are called,
/// for `module_of` here and in what is forked from here. What was noted before stays as it was: a
/// file that is overwritten in place changes in memory too, and its new build id with it.
///
/// @threads before the process has others.
void note_loaded_modules() noexcept;

struct module_place {
  const char* path = nullptr;  ///< null: the address is in no module
  std::uint64_t base = 0;
  image_id id;
};

/// What `address` is in. For signal handlers: takes no lock (with glibc 2.35 or newer), allocates
/// nothing, and never fails.
[[nodiscard]] module_place module_of(void* address) noexcept;

}  // namespace troupe::detail
