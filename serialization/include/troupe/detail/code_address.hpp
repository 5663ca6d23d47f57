// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

#include <cstddef>
#include <span>
#include <typeinfo>

namespace troupe {
class output_archive;
class input_archive;
}  // namespace troupe

namespace troupe::detail {

/// Writes the address of code as (module, offset), which holds wherever a module is mapped.
///
/// The main program takes 8 bytes; a shared library also sends its path and build id.
///
/// @throws error{unknown_function} if `address` is not in an executable segment of a loaded module.
void encode_code_address(output_archive& ar, const void* address);

/// The address here of what `encode_code_address` wrote, or null if that was null.
///
/// A library that is not loaded here is loaded from its path, for good. This runs its initializers,
/// so bytes may only come from a peer that is trusted with running code, which is what tasks are
/// for.
///
/// @throws error{unknown_function}: no such library, another build of it, no code at the offset.
[[nodiscard]] const void* decode_code_address(input_archive& ar, const std::type_info& type);

/// The main program's GNU build id; without one, 20 bytes hashed from its segments.
[[nodiscard]] std::span<const std::byte> program_build_id();

}  // namespace troupe::detail
