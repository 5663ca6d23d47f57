// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/guarded_memory.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace troupe {

/// How to make shared memory.
struct shared_memory_options {
  /// With a name, programs that are not related find it (`shared_memory::open`): a name of POSIX
  /// shared memory, without a slash. It goes with the last handle.
  std::string name = {};
};

class shared_memory_view;

/// Bytes that processes share: an owner, which may write.
///
/// Copies of it are the same memory. It has no name unless you give it one, so nothing is left
/// behind whoever is killed; a name is removed with the last owner of any process. What the bytes
/// mean, and who may write them when, is the user's.
///
/// @follows Python's SharedMemory, without unlink and resource tracker.
/// @crosses the same memory at both ends.
class shared_memory : public detail::object_handle {
 public:
  /// No bytes: something to assign to, or to decode into.
  shared_memory();
  /// `bytes` zeros, allocated in full: memory that runs out is an error now and no signal later.
  ///
  /// @throws std::invalid_argument for a negative size or a bad name: empty is no name, '/' and NUL
  ///   are not allowed, 254 bytes are; std::system_error{file_exists} if the name is taken;
  ///   error{resource_exhausted}.
  template <std::integral N>
  explicit shared_memory(N bytes, const shared_memory_options& options = {})
      : shared_memory{detail::checked_bytes(std::cmp_less(bytes, 0),
                                            static_cast<unsigned long long>(bytes), 1),
                      options, 0} {}

  /// The memory that somebody made with this name, as one more owner.
  ///
  /// @throws std::invalid_argument for a bad name, an empty one too;
  ///   std::system_error{no_such_file_or_directory}, {permission_denied}, also for whatever another
  ///   user made, who could take it away under us; error{protocol_error} if something else has the
  ///   name.
  [[nodiscard]] static shared_memory open(const std::string& name);

  [[nodiscard]] std::span<std::byte> bytes() const {
    detail::region& object = get();
    return {object.payload(), object.payload_bytes()};
  }
  [[nodiscard]] std::size_t size() const { return get().payload_bytes(); }

  [[nodiscard]] bool operator==(const shared_memory& other) const noexcept { return same(other); }
  void save(output_archive& ar) const { save_handle(ar); }
  void load(input_archive& ar);

 private:
  friend class shared_memory_view;
  shared_memory(std::size_t bytes, const shared_memory_options& options, int /*checked*/);
  explicit shared_memory(std::shared_ptr<detail::region> object)
      : object_handle{std::move(object)} {}
};

/// The same bytes for reading only: its process cannot write them, nor what it is given to.
///
/// Copies of it are the same view. Keeps the memory alive, not its name.
///
/// @crosses the same memory at both ends, still for reading only.
class shared_memory_view {
 public:
  /// No bytes: something to assign to, or to decode into.
  shared_memory_view() = default;
  /// @throws error{resource_exhausted}.
  // NOLINTNEXTLINE(google-explicit-constructor): an owner can do all that a view can
  shared_memory_view(const shared_memory& owner);

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return bytes().size(); }

  void save(output_archive& ar) const;
  void load(input_archive& ar);

 private:
  class mapped;
  std::shared_ptr<const mapped> memory_;
};

}  // namespace troupe
