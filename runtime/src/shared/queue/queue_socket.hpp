// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"
#include "troupe/detail/descriptor.hpp"

#include "os/descriptor_attachment.hpp"
#include "shared/core/crash_step.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace troupe::detail {

/// Where descriptors wait that came with items of a queue: a socket connected to itself, so that no
/// other process can send to it, and which lives as long as a process has the queue. Used under the
/// queue's lock.
///
/// Each message has some objects' ids and their descriptors. How many items refer to an object, the
/// queue knows (queue_objects.cpp): an object of several items is in one message, and a message
/// none of whose objects is referred to is dropped once it is the first.
class queue_socket {
 public:
  /// So many descriptors can come with one item.
  static constexpr std::size_t most_descriptors = 253;
  using id_list = std::vector<std::uint64_t>;

  /// Throws error{resource_exhausted}.
  queue_socket();
  /// What arrived. Throws error{protocol_error} if it is no such socket.
  explicit queue_socket(std::shared_ptr<const attachment> from);

  [[nodiscard]] const std::shared_ptr<const attachment>& as_attachments() const noexcept {
    return socket_;
  }

  /// One message; at most `most_descriptors`.
  ///
  /// @throws error{resource_exhausted} if it takes no more.
  void send(const id_list& ids, const std::vector<int>& numbers) const;

  /// The objects with these ids, nothing if not all of them are there. They stay there.
  ///
  /// @throws error{resource_exhausted} if there are no descriptors left.
  [[nodiscard]] std::optional<attachment_list> find(id_list wanted) const;
  /// Of the first message; nothing if there is none. Garbage is a message without ids.
  [[nodiscard]] std::optional<id_list> front() const;
  /// Drops the first message.
  void drop() const noexcept;
  /// How many descriptors are in it.
  [[nodiscard]] std::size_t count() const;
  /// Every object that `is_needed` once, others not at all; stops without harm when it cannot.
  template <class IsNeeded>
  void tidy(const IsNeeded& is_needed) const;

 private:
  struct message_header {
    std::uint64_t count = 0;
    std::array<std::uint64_t, most_descriptors> ids;
  };
  /// The next message from where `look_from` said; false if there is none.
  [[nodiscard]] bool peek(id_list& ids, std::size_t& bytes) const;
  /// The same, and its descriptors.
  [[nodiscard]] bool peek(id_list& ids, std::vector<descriptor>& descriptors) const;
  void look_from(std::size_t offset) const;

  std::shared_ptr<const attachment> socket_;
};

template <class IsNeeded>
void queue_socket::tidy(const IsNeeded& is_needed) const {
  std::size_t messages = 0;
  id_list ids;
  look_from(0);
  for (std::size_t bytes = 0; peek(ids, bytes);) {
    ++messages;
  }
  id_list kept;
  for (; messages != 0; --messages) {
    std::vector<descriptor> descriptors;
    look_from(0);
    if (!peek(ids, descriptors)) {
      return;
    }
    id_list needed;
    std::vector<int> numbers;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (is_needed(ids[i]) && std::find(kept.begin(), kept.end(), ids[i]) == kept.end()) {
        needed.push_back(ids[i]);
        numbers.push_back(descriptors[i].number());
      }
    }
    if (!needed.empty()) {
      // Sent again first, so that a death in between leaves two and not none.
      send(needed, numbers);
      crash_step();
      kept.insert(kept.end(), needed.begin(), needed.end());
    }
    drop();
    crash_step();
  }
}

}  // namespace troupe::detail
