// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe {

/// What kinds of objects processes share.
///
/// What holds for a handle of any of them, beyond what its class says:
/// - A handle crosses as an argument, a result, an item, a message, a member, an argument of an
///   initializer; to processes, too, that were there before the object. An object is gone with the
///   last process that has a handle of it.
/// - A handle that was moved from throws error{no_state}. An object whose memory another process
///   has damaged throws error{protocol_error}. At most 240 processes have an object: in one more,
///   operations that note down what a process holds or waits for throw error{resource_exhausted}.
///   An operation that is begun within another one of the same object, on the same thread, throws
///   error{would_deadlock}. Members throw nothing beyond this and what they say.
/// - Members that do not say that they block take the object's own lock for a moment, if any. A
///   process that is stopped in the middle of a change holds up the others; a killed one does not.
/// - `save` throws error{argument_encode_failed} where no attachments can travel, as in plain
///   bytes; `load` throws error{protocol_error} if the bytes are no handle of this kind and type,
///   and error{resource_exhausted}.
/// - What a process held that dies is given back by the program as soon as the death is reported,
///   and otherwise by a thread that waits, within a fraction of a second. Processes of several PID
///   namespaces (containers) that have the object find only the dead of their own namespace.
///
/// A handle may also be of an object on another machine, to which it was exported: the same type,
/// the same members. What is special there:
/// - Each operation also throws error{connection_lost}, whose `ran()` says whether it was done; one
///   that needs the object's memory throws error{not_on_this_machine}.
/// - Each operation blocks for a round trip at least; a timeout counts from when it arrives.
/// - A thread there is a thread to the object, so what it has locked is its own.
/// - When the link is cut, the object does as if the process there had died. An item of a queue
///   whose answer was on its way is lost, and done.
/// - A handle crosses back to the object's machine, and from there to others; not to other
///   processes of the machine it came to. raw_value, raw_array, shared_memory and connections do
///   not leave their machine: error{argument_encode_failed} where they are sent.
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
  object_kind kind = object_kind::none;  ///< what it is
  std::string name;                      ///< what `object_options::name` said
  std::uint64_t id = 0;                  ///< no other object has it
  std::uint64_t bytes = 0;               ///< of its memory, with all that manages it
  std::uint32_t holders = 0;             ///< live processes that have a handle
  std::uint32_t waiters = 0;     ///< threads of live processes that wait in an operation on it
  std::int64_t creator_pid = 0;  ///< the process that made it; may be gone
};

}  // namespace troupe
