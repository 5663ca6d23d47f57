// SPDX-License-Identifier: BSD-3-Clause
#include "shared/queue/queue_operations.hpp"
#include "shared/remote/imported_object.hpp"
#include "shared/remote/imported_operations.hpp"
#include "shared/remote/queue_messages.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <typeinfo>
#include <utility>

namespace troupe::detail {
namespace {

class imported_queue final : public queue_core {
 public:
  imported_queue(std::shared_ptr<region> object, const std::array<std::uint64_t, 2>& part_ids)
      : queue_core{attachment_route::link}, object_{std::move(object)}, part_ids_{part_ids} {}

  void save(output_archive& ar) override {
    save_attachment(ar, object_);
    ar.write(part_ids_.data(), sizeof part_ids_);
  }
  queue_answer put(std::span<const queue_item> items, std::size_t& stored,
                   const deadline& until) override;
  queue_answer take(queue_item& to, const deadline& until) override {
    std::vector<queue_item> items;
    const queue_answer answer = get(items, 1, until);
    if (answer == queue_answer::done) {
      to = std::move(items.front());
    }
    return answer;
  }
  queue_answer get(std::vector<queue_item>& to, std::size_t most, const deadline& until) override;
  void task_done() override { call_remote(*object_, remote_op::task_done); }
  bool join(const deadline& until) override {
    return call_remote<bool>(*object_, remote_op::join, time_left(until));
  }
  void close() override { call_remote(*object_, remote_op::close); }
  bool is_closed() override { return call_remote<bool>(*object_, remote_op::is_closed); }
  std::size_t size() override { return call_remote<std::uint64_t>(*object_, remote_op::size); }
  std::size_t capacity() override {
    return call_remote<std::uint64_t>(*object_, remote_op::capacity);
  }
  std::uint64_t id() override { return object_->id(); }
  const std::string& name() override { return object_->name(); }
  std::size_t storage_bytes() override {
    return call_remote<std::uint64_t>(*object_, remote_op::storage_bytes);
  }

 private:
  std::shared_ptr<region> object_;
  std::array<std::uint64_t, 2> part_ids_;  ///< as they came, for the way back to the exporter
};

queue_answer imported_queue::put(std::span<const queue_item> items, std::size_t& stored,
                                 const deadline& until) {
  while (stored < items.size()) {
    const auto now = items.subspan(stored, std::min(items.size() - stored, most_items_at_once));
    remote_request request{*object_, remote_op::put};
    output_archive& ar = request.arguments();
    ar(time_left(until));
    ar.write_size(now.size());
    for (const queue_item& item : now) {
      save_item_bytes(ar, item);
      save_remote_attachments(ar, *object_, item.attachments);
    }
    const remote_answer answer = request.send();
    input_archive from{answer.bytes()};
    from.skip(answer_header_bytes, typeid(remote_answer));
    const queue_answer what = load_queue_answer(from);
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

queue_answer imported_queue::get(std::vector<queue_item>& to, std::size_t most,
                                 const deadline& until) {
  const std::uint64_t wanted = std::min(most, most_items_at_once);
  const remote_answer answer = ask_remote(*object_, remote_op::get, time_left(until), wanted);
  input_archive from{answer.bytes()};
  from.skip(answer_header_bytes, typeid(remote_answer));
  const queue_answer what = load_queue_answer(from);
  const std::size_t count = load_item_count(from);
  if ((count == 0) == (what == queue_answer::done)) {
    from.fail("no items of a queue", typeid(queue_answer));
  }
  for (std::size_t i = 0; i < count; ++i) {
    queue_item item;
    load_item_bytes(from, item);
    item.attachments = load_remote_attachments(from, *object_);
    to.push_back(std::move(item));
  }
  from.finish(typeid(queue_answer));
  return what;
}

class imported_queues final : public queue_operations {
 public:
  std::shared_ptr<queue_core> load(std::shared_ptr<region> object, input_archive& ar,
                                   const queue_spec& /*spec*/) const override {
    std::array<std::uint64_t, 2> part_ids{};
    ar.read(part_ids.data(), sizeof part_ids, typeid(queue_core));
    return std::make_shared<imported_queue>(std::move(object), part_ids);
  }
};

}  // namespace

const object_operations& imported_queue_operations() noexcept {
  static constexpr imported_queues one;
  return one;
}

}  // namespace troupe::detail
