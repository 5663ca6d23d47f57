// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/archive.hpp"

#include <cstdint>
#include <memory>
#include <vector>

// What an encoded value has beside its bytes: kernel objects, each known by a descriptor. The bytes
// name them by id; the transport that moves the bytes to another process moves the descriptors
// along (SCM_RIGHTS), and offers them there to the code that decodes.
namespace troupe::detail {

/// A kernel object that a value refers to, alive as long as there is a pointer to this.
class cargo {
 public:
  explicit cargo(std::uint64_t id) noexcept : id_{id} {}
  cargo(const cargo&) = delete;
  cargo& operator=(const cargo&) = delete;
  virtual ~cargo();

  /// The same in every process, and no other object's.
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  /// To be sent, or duplicated; stays this object's. -1: it is on another machine.
  [[nodiscard]] virtual int number() const noexcept = 0;

 private:
  std::uint64_t id_;
};

using cargo_list = std::vector<std::shared_ptr<const cargo>>;

/// An id that no other object has: 64 random bits, never 0.
[[nodiscard]] std::uint64_t new_cargo_id();

/// How cargo gets to where its bytes go.
enum class cargo_way : std::uint8_t {
  descriptors,  ///< to a process of this machine
  link,         ///< to another machine, which learns the names of the objects (object_link.hpp)
};

/// While it lives, what this thread encodes may have cargo, which is added to `to`. They nest.
class cargo_loading {
 public:
  explicit cargo_loading(cargo_list& to, cargo_way way = cargo_way::descriptors) noexcept;
  ~cargo_loading();
  cargo_loading(const cargo_loading&) = delete;
  cargo_loading& operator=(const cargo_loading&) = delete;

 private:
  cargo_list* outer_;
  cargo_way outer_way_;
};

/// While it lives, what this thread decodes finds its cargo in `from`. They nest.
class cargo_unloading {
 public:
  explicit cargo_unloading(const cargo_list& from) noexcept;
  ~cargo_unloading();
  cargo_unloading(const cargo_unloading&) = delete;
  cargo_unloading& operator=(const cargo_unloading&) = delete;

 private:
  const cargo_list* outer_;
};

/// Whether this thread decodes something that came with cargo, or might have.
[[nodiscard]] bool cargo_is_unloading() noexcept;

/// Writes the id, and adds `what` to the list of the thread's `cargo_loading`.
///
/// @throws error{argument_encode_failed} if there is none, because plain bytes cannot carry it; and
///   for an object of another machine if the bytes stay on this one.
void save_cargo(output_archive& ar, std::shared_ptr<const cargo> what);

/// What was saved, found in the list of the thread's `cargo_unloading`.
///
/// @throws error{protocol_error} if it did not come with these bytes.
[[nodiscard]] std::shared_ptr<const cargo> load_cargo(input_archive& ar);

}  // namespace troupe::detail
