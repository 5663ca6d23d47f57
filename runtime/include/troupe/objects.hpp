// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe {

/// What kinds of objects processes share.
// NOLINTNEXTLINE(performance-enum-size): a whole word in shared memory
enum class object_kind : std::uint32_t {
  none = 0,
  mutex,
  recursive_mutex,
  value,
  array,
  shared_memory,
  semaphore,
  bounded_semaphore,
  event,
  condition,
  barrier,
  queue,
  lifo_queue,
  priority_queue,
};

/// The enumerator's name, "unknown" for others.
[[nodiscard]] std::string_view to_string(object_kind kind) noexcept;

/// What every shared object can be given when it is made.
struct object_options {
  std::string name = {};  ///< for people and lists; need not be unique, at most 255 bytes are kept
};

/// One shared object, as a list shows it: what was true a moment ago.
struct object_info {
  object_kind kind = object_kind::none;
  std::string name;
  std::uint64_t id = 0;          ///< no other object has it
  std::uint64_t bytes = 0;       ///< of its memory, with all that manages it
  std::uint32_t holders = 0;     ///< live processes that have a handle
  std::uint32_t waiters = 0;     ///< threads of live processes that wait in an operation on it
  std::int64_t creator_pid = 0;  ///< the process that made it; may be gone
};

}  // namespace troupe
