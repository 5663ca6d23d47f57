// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/cargo.hpp"
#include "troupe/detail/descriptor.hpp"
#include "troupe/detail/descriptor_cargo.hpp"
#include "troupe/detail/monitor_step.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace troupe::detail {

/// Where descriptors wait that came with items of a queue: a socket connected to itself, so that
/// nobody else can send to it, and which lives as long as somebody has the queue. Used under the
/// queue's lock.
///
/// Each message has the ticket of its item, and all its descriptors. An item whose message is gone
/// was lost with a process that died moving it; a message whose item is gone is dropped by whoever
/// finds it.
class queue_socket {
 public:
  /// So many descriptors can come with one item.
  static constexpr std::size_t most_descriptors = 253;

  /// Throws error{resource_exhausted}.
  queue_socket();
  /// What arrived. Throws error{protocol_error} if it is no such socket.
  explicit queue_socket(std::shared_ptr<const cargo> from);

  [[nodiscard]] const std::shared_ptr<const cargo>& as_cargo() const noexcept { return socket_; }

  /// Throws:  error{resource_exhausted} if it takes no more.
  void send(std::uint64_t ticket, const cargo_list& with) const;

  /// What was sent with `ticket`, and stays the first message until `drop`; nothing if it is gone.
  /// `is_stale(ticket)`: is the item of another message gone?
  /// Throws:  error{resource_exhausted} if there are no descriptors left; nothing is lost then.
  template <class IsStale>
  [[nodiscard]] std::optional<cargo_list> peek(std::uint64_t ticket, const IsStale& is_stale) const;
  void drop() const noexcept;

 private:
  struct message_header {
    std::uint64_t ticket = 0;
    std::uint64_t turn = 0;  ///< in which search it was put behind the others
    std::uint64_t count = 0;
    std::array<std::uint64_t, most_descriptors> ids;
  };
  struct front {
    message_header header;
    std::vector<descriptor> descriptors;
    bool good = false;  ///< it is as we send them
  };
  /// False if there is none.
  [[nodiscard]] bool receive(front& what, bool peek) const;
  void send_numbers(const message_header& what, std::span<const int> numbers) const;

  std::shared_ptr<const cargo> socket_;
};

template <class IsStale>
std::optional<cargo_list> queue_socket::peek(std::uint64_t ticket, const IsStale& is_stale) const {
  std::uint64_t turn = 0;
  front what;
  while (receive(what, true)) {
    if (what.good && what.header.ticket == ticket) {
      cargo_list found;
      for (std::size_t i = 0; i < what.descriptors.size(); ++i) {
        found.push_back(
            std::make_shared<descriptor_cargo>(what.header.ids[i], std::move(what.descriptors[i])));
      }
      return found;
    }
    if (what.good && !is_stale(what.header.ticket)) {
      if (turn == 0) {
        turn = new_cargo_id();
      } else if (what.header.turn == turn) {
        break;  // all of them were looked at
      }
      what.header.turn = turn;
      // To the end: sent again first, so that a death in between leaves two and not none.
      std::vector<int> numbers;
      for (const descriptor& one : what.descriptors) {
        numbers.push_back(one.number());
      }
      send_numbers(what.header, numbers);
      crash_step();
    }
    drop();
    crash_step();
  }
  return std::nullopt;
}

}  // namespace troupe::detail
