// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// Every handle of a shared object may also be of one on another machine, to which it was lent: same
// type, same members. What is special there:
//   Throws:  each operation also error{connection_lost}, whose `ran()` says whether it was done;
//   what
//            has an address there only is error{not_on_this_machine}.
//   Blocks:  each operation for a round trip at least; a timeout counts from when it arrives.
//   Threads: a thread there is a thread to the object, so what is locked by it is its own.
//   The link is cut: the object does as if the process there had died. An item of a queue whose
//            answer was on its way is lost, and done.
//   Crosses: back to the object's machine, and from there to others; not to other processes of the
//            machine it came to. raw_value, raw_array, shared_memory and connections do not leave
//            their machine: error{argument_encode_failed} where they are sent.

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
