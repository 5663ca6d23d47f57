// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/detail/cargo.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/error.hpp"
#include "troupe/objects.hpp"

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

struct queue_item {
  byte_buffer bytes;
  cargo_list cargo;
};

/// A buffer that this thread used before, empty; and one for next time. An item of a megabyte costs
/// less to copy than the pages of a fresh buffer.
[[nodiscard]] byte_buffer take_spare_buffer() noexcept;
void keep_spare_buffer(byte_buffer& used) noexcept;

/// Does the first item come out before the second? Both are items' bytes; null unless the kind is
/// priority_queue.
using queue_before = bool (*)(std::span<const std::byte> a, std::span<const std::byte> b);

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
  /// Throws:  error{resource_exhausted}.
  [[nodiscard]] static std::shared_ptr<queue_core> create(queue_spec spec);
  [[nodiscard]] static std::shared_ptr<queue_core> load(input_archive& ar, const queue_spec& spec);
  void save(output_archive& ar);
  ~queue_core();
  queue_core(const queue_core&) = delete;
  queue_core& operator=(const queue_core&) = delete;

  /// Puts all of `items` in order; `stored` counts them as they become available to others.
  queue_answer put(std::span<const queue_item> items, std::size_t& stored, const deadline& until);
  /// Appends at least one and at most `most` items to `to`.
  queue_answer get(std::vector<queue_item>& to, std::size_t most, const deadline& until);
  /// Throws:  std::logic_error if everything that was taken is done.
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

 private:
  struct parts;
  explicit queue_core(queue_spec spec);
  parts& get_parts();

  queue_spec spec_;
  std::once_flag made_;
  std::unique_ptr<parts> parts_;
};

/// Throws error{argument_decode_failed} with the type and the reason.
[[noreturn]] void fail_to_decode_item(const std::type_info& type, std::size_t bytes,
                                      const error& why);
[[noreturn]] void fail_queue_closed(const queue_core& queue, bool for_reader);

}  // namespace troupe::detail
