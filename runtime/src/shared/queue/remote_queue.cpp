// SPDX-License-Identifier: BSD-3-Clause
#include "shared/queue/remote_queue.hpp"

#include "shared/remote/imported_object.hpp"

#include <algorithm>
#include <typeinfo>
#include <utility>

namespace troupe::detail::remote_queue {

void save_bytes(output_archive& ar, const queue_item& item) {
  ar.write_size(item.bytes.size());
  ar.write(item.bytes.data(), item.bytes.size());
}

void load_bytes(input_archive& ar, queue_item& item) {
  const std::size_t bytes = ar.read_exact_size(1, typeid(queue_item));
  item.bytes.append(ar.skip(bytes, typeid(queue_item)), bytes);
}

std::size_t load_count(input_archive& ar) {
  // Each has at least its length and the number of its handles.
  const std::size_t count = ar.read_exact_size(2 * sizeof(std::uint64_t), typeid(queue_item));
  if (count > most_items) {
    ar.fail("too many items of a queue at once", typeid(queue_item));
  }
  return count;
}

queue_answer load_answer(input_archive& ar) {
  std::uint8_t number = 0;
  ar(number);
  if (number > static_cast<std::uint8_t>(queue_answer::closed)) {
    ar.fail("no answer of a queue", typeid(queue_answer));
  }
  return static_cast<queue_answer>(number);
}

queue_answer put(const region& object, std::span<const queue_item> items, std::size_t& stored,
                 const deadline& until) {
  while (stored < items.size()) {
    const auto now = items.subspan(stored, std::min(items.size() - stored, most_items));
    remote_request request{object, remote_op::put};
    output_archive& ar = request.arguments();
    ar(time_left(until));
    ar.write_size(now.size());
    for (const queue_item& item : now) {
      save_bytes(ar, item);
      save_remote_attachments(ar, object, item.attachments);
    }
    const remote_answer answer = request.send();
    input_archive from{answer.bytes()};
    from.skip(answer_header_bytes, typeid(remote_answer));
    const queue_answer what = load_answer(from);
    std::uint64_t done = 0;
    from(done);
    from.finish(typeid(queue_answer));
    stored += std::min<std::uint64_t>(done, now.size());
    if (what != queue_answer::done || done == 0) {
      return what;
    }
  }
  return queue_answer::done;
}

queue_answer get(const region& object, std::vector<queue_item>& to, std::size_t most,
                 const deadline& until) {
  const std::uint64_t wanted = std::min(most, most_items);
  const remote_answer answer = ask_remote(object, remote_op::get, time_left(until), wanted);
  input_archive from{answer.bytes()};
  from.skip(answer_header_bytes, typeid(remote_answer));
  const queue_answer what = load_answer(from);
  const std::size_t count = load_count(from);
  if ((count == 0) == (what == queue_answer::done)) {
    from.fail("no items of a queue", typeid(queue_answer));
  }
  for (std::size_t i = 0; i < count; ++i) {
    queue_item item;
    load_bytes(from, item);
    item.attachments = load_remote_attachments(from, object);
    to.push_back(std::move(item));
  }
  from.finish(typeid(queue_answer));
  return what;
}

}  // namespace troupe::detail::remote_queue
