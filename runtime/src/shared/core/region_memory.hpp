// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/descriptor.hpp"
#include "troupe/detail/memory.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

// The memory of a region as the system sees it: how long, how mapped, and how it begins.
namespace troupe::detail {

inline constexpr std::uint64_t region_magic = 0x326A'626F'6570'7274;  // "trpeobj2" in memory
// Flags of the header.
inline constexpr std::uint32_t region_named_flag = 1;
inline constexpr std::uint32_t region_unguarded_flag = 2;

class region;
struct process_slot;

/// Whether the owner of a slot, which was `owner`, will never execute another instruction. When in
/// doubt, it may.
[[nodiscard]] bool is_dead(const region& object, const process_slot& slot,
                           std::uint64_t owner) noexcept;

/// Throws error{protocol_error}.
[[noreturn]] void refuse_object(const std::string& why);

/// Mapped also in children that this process forks.
[[nodiscard]] mapping map_for_children(const descriptor& memory, std::size_t bytes);

/// The bytes of a region with that payload.
///
/// @throws error{resource_exhausted} if the system cannot have, or does not have, as much.
[[nodiscard]] std::size_t total_for(std::size_t payload_bytes);

}  // namespace troupe::detail
