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
  /// A name of POSIX shared memory, without a slash, by which programs that are not related find it
  /// (`shared_memory::open`). The name is removed with the last handle. Empty: no name.
  std::string name = {};
};

class shared_memory_view;

/// Bytes that processes share: an owner, which may write.
///
/// Copies of it are the same memory; what holds for every handle is told at object_kind. It has no
/// name unless it is given one, so nothing is left behind, whichever process is killed; a name is
/// removed with the last owner of any process. What the bytes mean, and which process may write
/// them when, is the program's to say.
///
/// @follows Python's SharedMemory, without unlink and resource tracker.
/// @threads any.
/// @crosses the same memory at both ends; not to another machine.
/// @worker_dies what it has written stays, whole or in part. If all owners of a name are killed, a
///   guardian removes it, that of any program.
/// @throws what every handle throws, see object_kind.
class shared_memory : public detail::object_handle {
 public:
  /// No bytes: something to assign to, or to decode into.
  ///
  /// @throws error{resource_exhausted}.
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

  /// The memory that was made with this name, by any program, as one more owner.
  ///
  /// @throws std::invalid_argument for a bad name, an empty one too;
  ///   std::system_error{no_such_file_or_directory}, {permission_denied}, also for what another
  ///   user made, who could shrink it under this process; error{protocol_error} if something else
  ///   has the name.
  [[nodiscard]] static shared_memory open(const std::string& name);

  /// The bytes, valid as long as there is a handle in this process.
  [[nodiscard]] std::span<std::byte> bytes() const {
    detail::region& object = get();
    return {object.payload(), object.payload_bytes()};
  }
  /// The number of bytes; never changes.
  [[nodiscard]] std::size_t size() const { return get().payload_bytes(); }

  /// The same memory.
  [[nodiscard]] bool operator==(const shared_memory& other) const noexcept { return same(other); }
  /// @{
  /// How the codec writes and reads a handle.
  void save(output_archive& ar) const { save_handle(ar); }
  void load(input_archive& ar);
  /// @}

 private:
  friend class shared_memory_view;
  shared_memory(std::size_t bytes, const shared_memory_options& options, int /*checked*/);
  explicit shared_memory(std::shared_ptr<detail::region> object)
      : object_handle{std::move(object)} {}
};

/// The bytes of a shared_memory for reading only: a process that has no more than this cannot write
/// them, nor can processes that get it from there.
///
/// Copies of it are the same view. Keeps the memory alive, not its name.
///
/// @threads any.
/// @crosses the same memory at both ends, still for reading only; not to another machine.
/// @worker_dies what it has written stays; the view is valid as before.
class shared_memory_view {
 public:
  /// No bytes: something to assign to, or to decode into.
  shared_memory_view() = default;
  /// A view of what `owner` owns.
  ///
  /// @throws error{resource_exhausted}.
  // NOLINTNEXTLINE(google-explicit-constructor): an owner can do all that a view can
  shared_memory_view(const shared_memory& owner);

  /// The bytes, valid as long as there is a copy of this view in this process.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept;
  /// The number of bytes.
  [[nodiscard]] std::size_t size() const noexcept { return bytes().size(); }

  /// @{
  /// How the codec writes and reads a view.
  void save(output_archive& ar) const;
  void load(input_archive& ar);
  /// @}

 private:
  class mapped;
  std::shared_ptr<const mapped> memory_;
};

}  // namespace troupe
