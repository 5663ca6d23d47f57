// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/queue_core.hpp"
#include "troupe/detail/region.hpp"

#include "base/thread_safety.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace troupe::detail {

/// A queue of this machine: its region, which has the state; the memory with the items, which
/// grows; and a socket connected to itself, where descriptors wait that came with items.
class local_queue final : public queue_core {
 public:
  /// A new queue, made at its first use.
  explicit local_queue(queue_spec spec);
  /// Of the parts that `save` names.
  ///
  /// @throws error{protocol_error} if they are not of one queue.
  local_queue(std::shared_ptr<region> object, const std::shared_ptr<const attachment>& storage,
              const std::shared_ptr<const attachment>& socket, queue_spec spec);
  ~local_queue() override;

  /// The ids of the storage and of the socket.
  [[nodiscard]] static std::array<std::uint64_t, 2> part_ids(const region& object);
  /// Makes it now, if it was not used before.
  ///
  /// @throws error{resource_exhausted}.
  void ensure() { static_cast<void>(get_parts()); }
  /// Checks that an order can compare `item`: others would break a priority_queue for all
  /// processes.
  ///
  /// @throws what decoding it throws.
  void check_comparable(const queue_item& item) const;

  void save(output_archive& ar) override;
  queue_answer put(std::span<const queue_item> items, std::size_t& stored,
                   const deadline& until) override;
  queue_answer take(queue_item& to, const deadline& until) override;
  queue_answer get(std::vector<queue_item>& to, std::size_t most, const deadline& until) override;
  void task_done() override;
  [[nodiscard]] bool join(const deadline& until) override;
  void close() override;
  [[nodiscard]] bool is_closed() override;
  [[nodiscard]] std::size_t size() override;
  [[nodiscard]] std::size_t capacity() override;
  [[nodiscard]] std::uint64_t id() override;
  [[nodiscard]] const std::string& name() override;
  [[nodiscard]] std::size_t storage_bytes() override;

 private:
  struct parts;
  parts& get_parts();
  /// Puts as many as the region's lock alone is enough for; false if some are left.
  [[nodiscard]] bool put_short(std::span<const queue_item> items, std::size_t& stored,
                               const deadline& until);
  /// Takes one if the second lock alone is enough; false if it takes more, or is time to sleep.
  [[nodiscard]] bool take_short(queue_item& to, const deadline& until, queue_answer& answer);
  /// Calls `keep` with at least one and at most `most` items.
  template <class Keep>
  queue_answer take_some(std::size_t most, const deadline& until, Keep keep);

  queue_spec spec_;
  guarded_mutex making_;
  std::atomic<parts*> ready_{nullptr};  // what `parts_` has, once all of it is there
  std::unique_ptr<parts> parts_ TROUPE_GUARDED_BY(making_);
};

}  // namespace troupe::detail
