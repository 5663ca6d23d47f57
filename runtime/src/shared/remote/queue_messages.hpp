// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/detail/queue_core.hpp"

#include <cstddef>

// How the items of a queue are written into messages.
namespace troupe::detail {

/// At most so many items go with one message.
inline constexpr std::size_t most_items_at_once = 1024;

void save_item_bytes(output_archive& ar, const queue_item& item);
/// @throws error{protocol_error}, as those below.
void load_item_bytes(input_archive& ar, queue_item& item);
/// How many items follow.
[[nodiscard]] std::size_t load_item_count(input_archive& ar);
[[nodiscard]] queue_answer load_queue_answer(input_archive& ar);

}  // namespace troupe::detail
