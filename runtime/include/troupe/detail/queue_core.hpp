// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/detail/attachment.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/error.hpp"
#include "troupe/objects.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
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
  /// A small value that crosses as its own bytes, where the caller has it: what is put, instead of
  /// `bytes`; or where it goes if what is taken is as large, and `is_plain` says that it did.
  std::span<std::byte> plain = {};
  bool is_plain = false;

  [[nodiscard]] std::span<const std::byte> payload() const noexcept {
    return is_plain ? plain : bytes.bytes();
  }
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

/// One queue as one process has it, wherever it is: in memory that is mapped (local_queue.hpp), or
/// on another machine (shared/remote).
class queue_core {
 public:
  /// A new queue; while a value is being decoded one that is made at its first use.
  ///
  /// @throws error{resource_exhausted}.
  [[nodiscard]] static std::shared_ptr<queue_core> create(queue_spec spec);
  [[nodiscard]] static std::shared_ptr<queue_core> load(input_archive& ar, const queue_spec& spec);
  virtual ~queue_core();
  queue_core(const queue_core&) = delete;
  queue_core& operator=(const queue_core&) = delete;

  virtual void save(output_archive& ar) = 0;
  /// Puts all of `items` in order; `stored` counts them as they become available to others.
  virtual queue_answer put(std::span<const queue_item> items, std::size_t& stored,
                           const deadline& until) = 0;
  /// Takes one item; `to` is empty.
  virtual queue_answer take(queue_item& to, const deadline& until) = 0;
  /// Appends at least one and at most `most` items to `to`.
  virtual queue_answer get(std::vector<queue_item>& to, std::size_t most,
                           const deadline& until) = 0;
  /// One item that was taken is done.
  ///
  /// @throws std::logic_error if all that were taken are done already.
  virtual void task_done() = 0;
  [[nodiscard]] virtual bool join(const deadline& until) = 0;
  virtual void close() = 0;
  [[nodiscard]] virtual bool is_closed() = 0;
  [[nodiscard]] virtual std::size_t size() = 0;
  [[nodiscard]] virtual std::size_t capacity() = 0;
  [[nodiscard]] virtual std::uint64_t id() = 0;
  [[nodiscard]] virtual const std::string& name() = 0;
  /// Bytes of memory that items have, or had and left for the next ones.
  [[nodiscard]] virtual std::size_t storage_bytes() = 0;

  /// How what is put gets to where the queue is.
  [[nodiscard]] attachment_route route() const noexcept { return route_; }

 protected:
  explicit queue_core(attachment_route route) noexcept : route_{route} {}

 private:
  attachment_route route_;
};

/// @throws error{argument_decode_failed} with the type and the reason.
[[noreturn]] void fail_to_decode_item(const std::type_info& type, std::size_t bytes,
                                      const error& why);
[[noreturn]] void fail_queue_closed(bool for_reader);

}  // namespace troupe::detail
