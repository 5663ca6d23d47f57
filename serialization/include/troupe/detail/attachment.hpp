// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

#include <cstdint>
#include <memory>
#include <vector>

// What an encoded value has beside its bytes: kernel objects, each known by a descriptor. The bytes
// name them by id; the transport that moves the bytes to another process moves the descriptors
// along (SCM_RIGHTS), and offers them there to the code that decodes.
namespace troupe {
class input_archive;
class output_archive;
}  // namespace troupe

namespace troupe::detail {

/// A kernel object that a value refers to. It lives as long as there is a pointer to this.
class attachment {
 public:
  explicit attachment(std::uint64_t id) noexcept : id_{id} {}
  attachment(const attachment&) = delete;
  attachment& operator=(const attachment&) = delete;
  virtual ~attachment();

  /// Is the same in every process. No other object has it.
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  /// The descriptor to send or to duplicate; this object keeps it. -1: the kernel object is on
  /// another machine.
  [[nodiscard]] virtual int number() const noexcept = 0;

 private:
  std::uint64_t id_;
};

using attachment_list = std::vector<std::shared_ptr<const attachment>>;

/// An id that no other object has: 64 random bits, never 0.
[[nodiscard]] std::uint64_t new_attachment_id();

/// How attachments get to the process that the bytes go to.
enum class attachment_route : std::uint8_t {
  descriptors,  ///< to a process of this machine
  link,         ///< to another machine, which learns the names of the objects (object_sink.hpp)
};

/// While a collector lives, values that this thread encodes may have attachments, which are added
/// to `to`. Collectors nest.
class attachment_collector {
 public:
  explicit attachment_collector(attachment_list& to,
                                attachment_route way = attachment_route::descriptors) noexcept;
  ~attachment_collector();
  attachment_collector(const attachment_collector&) = delete;
  attachment_collector& operator=(const attachment_collector&) = delete;

 private:
  attachment_list* outer_;
  attachment_route outer_way_;
};

/// While a source lives, values that this thread decodes find their attachments in `from`. Sources
/// nest.
class attachment_source {
 public:
  explicit attachment_source(const attachment_list& from) noexcept;
  ~attachment_source();
  attachment_source(const attachment_source&) = delete;
  attachment_source& operator=(const attachment_source&) = delete;

 private:
  const attachment_list* outer_;
};

/// Whether an `attachment_source` of this thread lives: what it decodes may have attachments.
[[nodiscard]] bool attachments_are_at_hand() noexcept;

/// Writes the id, and adds `what` to the list of the thread's `attachment_collector`.
///
/// @throws error{argument_encode_failed} if the thread has no collector, because plain bytes cannot
///   carry an attachment; and for an object of another machine if the bytes stay on this one.
void save_attachment(output_archive& ar, std::shared_ptr<const attachment> what);

/// Reads the id, and returns the attachment with that id in the thread's `attachment_source`.
///
/// @throws error{protocol_error} if no such attachment came with these bytes.
[[nodiscard]] std::shared_ptr<const attachment> load_attachment(input_archive& ar);

}  // namespace troupe::detail
