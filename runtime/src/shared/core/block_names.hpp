// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/descriptor.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

// The names that shared memory has on request, in /dev/shm.
//
// The system removes whatever has a name, and cannot be told which memory is meant: between looking
// and removing, another process may have removed the old one and given the name to a new one. So a
// process that removes a name holds a lock of the memory it means. As long as the name means that
// memory no process can give it to another one, and as long as the lock is held no process of this
// library takes it from that one. The kernel gives up the locks of the dead.
namespace troupe::detail {

/// Where shm_open has its names.
inline constexpr const char* block_folder = "/dev/shm";

/// The name as shm_open wants it.
[[nodiscard]] inline std::string path_of(const std::string& name) {
  return "/" + name;
}

/// Of memory whose name is about to be removed (alone), or is being opened (with others).
class block_lock {
 public:
  enum class mode : std::uint8_t { alone, shared };
  /// `memory` was opened here and for this: one that crossed would share the lock with others.
  /// Gives up after `patience`, as its holder may have been stopped; 0: after one try.
  block_lock(const descriptor& memory, mode how,
             std::chrono::milliseconds patience = std::chrono::milliseconds{100});
  ~block_lock();
  block_lock(const block_lock&) = delete;
  block_lock& operator=(const block_lock&) = delete;

  [[nodiscard]] explicit operator bool() const noexcept { return locked_; }

 private:
  int number_;
  bool locked_ = false;
};

/// Does the name still mean this memory?
[[nodiscard]] bool names(const std::string& name, const descriptor& memory) noexcept;

// Processes of other PID namespaces cannot be asked for whether they live. So each process that has
// memory with a name holds a byte of it, that where its slot begins: an open file description has a
// lock of it until the last process that has this description is gone, which the kernel tells
// everywhere. A description that came from another process, or from the one that this was forked
// from, keeps the bytes of all of them: then a dead process may look alive, but none dead that lives.

/// As long as there is a duplicate of `memory` in any process.
void hold_byte(int memory, std::size_t at) noexcept;
/// By any description but this one, which was opened for the question.
[[nodiscard]] bool is_byte_held(const descriptor& memory, std::size_t at) noexcept;

/// Removes the name if it means this memory and `is_unused()`, which is asked under the lock. One
/// whose lock cannot be had stays, until a process looks for abandoned ones again.
void remove_block_name(const std::string& name, const descriptor& memory,
                       const std::function<bool()>& is_unused) noexcept;

}  // namespace troupe::detail
