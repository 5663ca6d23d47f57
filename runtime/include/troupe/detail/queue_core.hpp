// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/detail/attachment.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/error.hpp"
#include "troupe/objects.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <typeinfo>
#include <vector>

// What queues of every item type have in common: bytes go in, bytes come out.
namespace troupe::detail {

class region;

struct queue_item {
  byte_buffer bytes;
  attachment_list attachments;
};

/// A buffer that this thread used before, empty; and one for next time. An item of a megabyte costs
/// less to copy than the pages of a fresh buffer.
[[nodiscard]] byte_buffer take_spare_buffer() noexcept;
void keep_spare_buffer(byte_buffer& used) noexcept;

/// Says whether the first item comes out before the second. Both are items' bytes; null unless the
/// kind is priority_queue.
using queue_before = bool (*)(std::span<const std::byte> a, std::span<const std::byte> b);

/// Makes an order known to code that has a priority_queue without the type of its items, by its
/// type tag. A variable with static storage, so that none is missing once the program runs.
class known_order {
 public:
  known_order(std::uint64_t type_tag, queue_before before) noexcept;
  /// The order of a type of items. Null if no type of the program has that tag.
  [[nodiscard]] static queue_before find(std::uint64_t type_tag) noexcept;

 private:
  std::uint64_t type_tag_;
  queue_before before_;
  const known_order* next_;
};

struct queue_spec {
  object_kind kind = object_kind::queue;
  std::uint64_t type_tag = 0;
  std::size_t capacity = 0;  ///< 0: no bound
  std::string name = {};
  queue_before before = nullptr;
};

enum class queue_answer : std::uint8_t { done, timed_out, closed };

/// One queue in one process: its region, which has the state; the memory with the items, which
/// grows; and a socket connected to itself, where descriptors wait that came with items.
class queue_core {
 public:
  /// A new queue; while a value is being decoded one that is made at its first use.
  ///
  /// @throws error{resource_exhausted}.
  [[nodiscard]] static std::shared_ptr<queue_core> create(queue_spec spec);
  [[nodiscard]] static std::shared_ptr<queue_core> load(input_archive& ar, const queue_spec& spec);
  void save(output_archive& ar);
  /// Makes a queue of the parts that `save` names.
  ///
  /// @throws error{protocol_error} if they are not of one queue.
  [[nodiscard]] static std::shared_ptr<queue_core> assemble(
      std::shared_ptr<region> object, const std::shared_ptr<const attachment>& storage,
      const std::shared_ptr<const attachment>& socket, const queue_spec& spec);
  /// The ids of the storage and of the socket of a queue that is here.
  [[nodiscard]] static std::array<std::uint64_t, 2> part_ids(const region& object);
  ~queue_core();
  queue_core(const queue_core&) = delete;
  queue_core& operator=(const queue_core&) = delete;

  /// Puts all of `items` in order; `stored` counts them as they become available to others.
  queue_answer put(std::span<const queue_item> items, std::size_t& stored, const deadline& until);
  /// Appends at least one and at most `most` items to `to`.
  queue_answer get(std::vector<queue_item>& to, std::size_t most, const deadline& until);
  /// One item that was taken is done.
  ///
  /// @throws std::logic_error if all that were taken are done already.
  void task_done();
  [[nodiscard]] bool join(const deadline& until);
  void close();
  [[nodiscard]] bool is_closed();
  [[nodiscard]] std::size_t size();
  [[nodiscard]] std::size_t capacity();
  [[nodiscard]] std::uint64_t id();
  [[nodiscard]] const std::string& name();
  /// Bytes of memory that items have, or had and left for the next ones.
  [[nodiscard]] std::size_t storage_bytes();

  /// How what is put gets to where the queue is.
  [[nodiscard]] attachment_route way() const noexcept {
    return remote_ == nullptr ? attachment_route::descriptors : attachment_route::link;
  }
  /// Checks that an order can compare `item`: others would break a priority_queue for all
  /// processes.
  ///
  /// @throws what decoding it throws.
  void check_comparable(const queue_item& item) const;

 private:
  struct parts;
  explicit queue_core(queue_spec spec);
  parts& get_parts();

  queue_spec spec_;
  std::mutex making_;
  std::atomic<parts*> ready_{nullptr};  // what `parts_` has, once all of it is there
  std::unique_ptr<parts> parts_;
  std::shared_ptr<region> remote_;  ///< of a queue on another machine, which has no parts here
  std::array<std::uint64_t, 2> remote_part_ids_{};
};

/// @throws error{argument_decode_failed} with the type and the reason.
[[noreturn]] void fail_to_decode_item(const std::type_info& type, std::size_t bytes,
                                      const error& why);
[[noreturn]] void fail_queue_closed(const queue_core& queue, bool for_reader);

}  // namespace troupe::detail
