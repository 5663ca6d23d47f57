// SPDX-License-Identifier: BSD-3-Clause
#include "shared/remote/queue_messages.hpp"

#include <cstdint>
#include <typeinfo>

namespace troupe::detail {

void save_item_bytes(output_archive& ar, const queue_item& item) {
  ar.write_size(item.payload().size());
  ar.write(item.payload().data(), item.payload().size());
}

void load_item_bytes(input_archive& ar, queue_item& item) {
  const std::size_t bytes = ar.read_exact_size(1, typeid(queue_item));
  item.bytes.append(ar.skip(bytes, typeid(queue_item)), bytes);
}

std::size_t load_item_count(input_archive& ar) {
  // Each has at least its length and the number of its handles.
  const std::size_t count = ar.read_exact_size(2 * sizeof(std::uint64_t), typeid(queue_item));
  if (count > most_items_at_once) {
    ar.fail("too many items of a queue at once", typeid(queue_item));
  }
  return count;
}

queue_answer load_queue_answer(input_archive& ar) {
  std::uint8_t number = 0;
  ar(number);
  if (number > static_cast<std::uint8_t>(queue_answer::closed)) {
    ar.fail("no answer of a queue", typeid(queue_answer));
  }
  return static_cast<queue_answer>(number);
}

}  // namespace troupe::detail
