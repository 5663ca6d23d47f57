// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/log.hpp"

#include "shared/export/export_operation.hpp"
#include "shared/queue/local_queue.hpp"
#include "shared/remote/queue_messages.hpp"

#include <algorithm>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

void put_items(operation_on& op, local_queue& queue) {
  const deadline until = op.read_deadline();
  std::vector<queue_item> items(load_item_count(op.in));
  for (queue_item& item : items) {
    load_item_bytes(op.in, item);
    item.attachments = op.as.load(op.in);
    queue.check_comparable(item);
  }
  op.begin();
  std::size_t stored = 0;
  const queue_answer answer = queue.put(items, stored, until);
  op.out(static_cast<std::uint8_t>(answer), std::uint64_t{stored});
}

void get_items(operation_on& op, local_queue& queue) {
  const deadline until = op.read_deadline();
  const auto most = op.argument<std::uint64_t>();
  op.begin();
  std::vector<queue_item> items;
  const queue_answer answer =
      queue.get(items, std::clamp<std::uint64_t>(most, 1, most_items_at_once), until);
  // Each as it will go, as one with a handle that cannot leave this machine must not cost others.
  std::vector<std::pair<const queue_item*, byte_buffer>> sent;
  std::exception_ptr refused;
  for (const queue_item& item : items) {
    try {
      byte_buffer attachments;
      output_archive ar{attachments};
      op.as.save(ar, item.attachments);
      sent.emplace_back(&item, std::move(attachments));
    } catch (const error& why) {
      // As with one that does not decode: it is lost, and done.
      refused = std::current_exception();
      queue.task_done();
      log(log_level::warning,
          std::string{"troupe: an item of a queue was lost: another machine took it: "} +
              why.what());
    }
  }
  if (sent.empty() && refused != nullptr) {
    std::rethrow_exception(refused);
  }
  op.out(static_cast<std::uint8_t>(answer));
  op.out.write_size(sent.size());
  for (const auto& [item, attachments] : sent) {
    save_item_bytes(op.out, *item);
    op.out.write(attachments.data(), attachments.size());
  }
}

}  // namespace

void perform_on_queue(operation_on& op, local_queue& queue) {
  switch (op.what) {
    case remote_op::put:
      return put_items(op, queue);
    case remote_op::get:
      return get_items(op, queue);
    case remote_op::task_done:
      op.begin();
      return queue.task_done();
    case remote_op::join: {
      const deadline until = op.read_deadline();
      op.begin();
      return op.answer(queue.join(until));
    }
    case remote_op::close:
      op.begin();
      return queue.close();
    case remote_op::is_closed:
      op.begin();
      return op.answer(queue.is_closed());
    case remote_op::size:
      op.begin();
      return op.answer(std::uint64_t{queue.size()});
    case remote_op::capacity:
      op.begin();
      return op.answer(std::uint64_t{queue.capacity()});
    case remote_op::storage_bytes:
      op.begin();
      return op.answer(std::uint64_t{queue.storage_bytes()});
    default:
      op.refuse();
  }
}

}  // namespace troupe::detail
