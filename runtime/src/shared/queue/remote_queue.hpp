// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/queue_core.hpp"

#include <cstddef>
#include <span>
#include <vector>

// A queue on another machine, by messages.
namespace troupe::detail::remote_queue {

/// At most so many items go with one message.
inline constexpr std::size_t most_items = 1024;

queue_answer put(const region& object, std::span<const queue_item> items, std::size_t& stored,
                 const deadline& until);
queue_answer get(const region& object, std::vector<queue_item>& to, std::size_t most,
                 const deadline& until);

void save_bytes(output_archive& ar, const queue_item& item);
void load_bytes(input_archive& ar, queue_item& item);
/// How many items follow.
[[nodiscard]] std::size_t load_count(input_archive& ar);
[[nodiscard]] queue_answer load_answer(input_archive& ar);

}  // namespace troupe::detail::remote_queue
