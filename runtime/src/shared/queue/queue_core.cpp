// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/queue_core.hpp"

#include "troupe/detail/region.hpp"
#include "troupe/detail/type_name.hpp"
#include "troupe/error.hpp"

#include "base/thread_owned.hpp"
#include "shared/core/kind_rules.hpp"
#include "shared/queue/queue_operations.hpp"

#include <atomic>
#include <utility>

namespace troupe::detail {

namespace {
constinit std::atomic<const known_order*> last_order{nullptr};
}  // namespace

known_order::known_order(std::uint64_t type_tag, queue_before before) noexcept
    : type_tag_{type_tag}, before_{before}, next_{last_order.load()} {
  while (!last_order.compare_exchange_weak(next_, this)) {
  }
}

queue_before known_order::find(std::uint64_t type_tag) noexcept {
  const known_order* at = last_order.load();
  while (at != nullptr && at->type_tag_ != type_tag) {
    at = at->next_;
  }
  return at == nullptr ? nullptr : at->before_;
}

namespace {
constexpr std::size_t most_to_spare = std::size_t{8} << 20;
struct spare_tag;
using spare_buffer = thread_owned<byte_buffer, spare_tag>;
}  // namespace

byte_buffer take_spare_buffer() noexcept {
  byte_buffer* const spare = spare_buffer::get();
  return spare == nullptr ? byte_buffer{} : std::move(*spare);
}

void keep_spare_buffer(byte_buffer& used) noexcept {
  byte_buffer* const spare = spare_buffer::get();
  if (spare != nullptr && used.capacity() > spare->capacity() && used.capacity() <= most_to_spare) {
    used.clear();
    *spare = std::move(used);
  }
}

void fail_to_decode_item(const std::type_info& type, std::size_t bytes, const error& why) {
  throw error{errc::argument_decode_failed, task_ran::no,
              "troupe: an item of " + std::to_string(bytes) + " bytes is no '" + type_name(type) +
                  "': " + why.what()};
}

void fail_queue_closed(bool for_reader) {
  throw queue_closed{for_reader ? "troupe: the queue is closed, and all its items were taken"
                                : "troupe: the queue is closed, and takes no more items"};
}

queue_core::~queue_core() = default;

std::shared_ptr<queue_core> queue_core::load(input_archive& ar, const queue_spec& spec) {
  auto object = region::import(load_attachment(ar), queue_rules(spec.kind), spec.type_tag);
  const auto& operations = object->operations<queue_operations>();
  return operations.load(std::move(object), ar, spec);
}

}  // namespace troupe::detail
