// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/queue_core.hpp"

#include "troupe/detail/monitor.hpp"
#include "troupe/detail/monitor_step.hpp"
#include "troupe/detail/region.hpp"
#include "troupe/detail/type_name.hpp"
#include "troupe/error.hpp"
#include "troupe/log.hpp"

#include "far_end.hpp"
#include "far_queue.hpp"
#include "kind_rules.hpp"
#include "queue_socket.hpp"
#include "queue_storage.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace troupe::detail {
namespace {

// Channels of the region.
enum : std::size_t { has_items, has_room, all_done };
// Counters of a process's slot.
enum : std::size_t { taken_and_not_done };

constexpr std::uint64_t record_alignment = 16;
constexpr std::uint64_t least_area = std::uint64_t{1} << 14;
/// An empty queue gives memory back beyond this.
constexpr std::uint64_t area_to_keep = std::uint64_t{64} << 20;
constexpr std::uint64_t heap_arity = 4;
/// Nobody has more memory than that.
constexpr std::uint64_t most_storage = std::uint64_t{1} << 47;

/// Before each item's bytes in the storage. A lifo_queue's has its own size behind it too.
struct record {
  std::uint64_t bytes = 0;
  std::uint64_t ticket = 0;
  std::uint64_t descriptors = 0;
  std::uint64_t unused = 0;
};
static_assert(sizeof(record) % record_alignment == 0);

struct journal_entry {
  shared_word offset, value;
};

/// The payload of the region. The items are in the storage, in one area of it:
///
///   queue            a ring of records from `head` to `tail`, which count on and wrap
///   lifo_queue       records with their sizes behind them, from 0 to `tail`
///   priority_queue   a heap of `index_room` words, each where a record is; then records and gaps
///                    up to `tail`, of which `head` bytes are used
///
/// Records are written where nothing is, and then the words here change, by the transaction's undo
/// log. Only a heap's words change in place: what they were is in the journal, which counts as long
/// as `version` is what it was when it was written.
struct queue_state {
  shared_word capacity, closed, count, unfinished, next_ticket;
  shared_word storage_id, socket_id;
  shared_word area, area_bytes, index_room, head, tail;
  shared_word version;
  shared_word journal_version, journal_size;
  std::array<journal_entry, 64> journal;
};

void give_back(transaction& tx, process_slot& dead) {
  auto& state = tx.object().state<queue_state>();
  const std::uint64_t taken = tx.get(dead.counters[taken_and_not_done]);
  const std::uint64_t unfinished = tx.get(state.unfinished);
  const std::uint64_t count = tx.get(state.count);
  tx.set(state.unfinished, unfinished - std::min(taken, unfinished - std::min(count, unfinished)));
  tx.set(dead.counters[taken_and_not_done], 0);
}

[[noreturn]] void fail_damaged() {
  throw error{errc::protocol_error, task_ran::maybe,
              "the memory of a queue was damaged: what it says of its items cannot be"};
}

void check(bool holds) {
  if (!holds) [[unlikely]] {
    fail_damaged();
  }
}

/// What is taken and not done is in somebody's slot: who waited for more would wait for ever.
void check_unfinished(transaction& tx) {
  const auto& state = tx.object().state<queue_state>();
  std::uint64_t known = tx.get(state.count);
  for (const process_slot& slot : tx.object().slots()) {
    known += tx.get(slot.counters[taken_and_not_done]);
  }
  check(tx.get(state.unfinished) <= known);
}

constexpr std::uint64_t rounded(std::uint64_t bytes) {
  return (bytes + record_alignment - 1) / record_alignment * record_alignment;
}

}  // namespace

const object_rules& queue_rules(object_kind kind) {
  static constexpr object_rules fifo{object_kind::queue, sizeof(queue_state), give_back};
  static constexpr object_rules lifo{object_kind::lifo_queue, sizeof(queue_state), give_back};
  static constexpr object_rules prio{object_kind::priority_queue, sizeof(queue_state), give_back};
  return kind == object_kind::queue ? fifo : kind == object_kind::lifo_queue ? lifo : prio;
}

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
thread_local byte_buffer spare;
}  // namespace

byte_buffer take_spare_buffer() noexcept {
  return std::move(spare);
}

void keep_spare_buffer(byte_buffer& used) noexcept {
  if (used.capacity() > spare.capacity() && used.capacity() <= most_to_spare) {
    used.clear();
    spare = std::move(used);
  }
}

void fail_to_decode_item(const std::type_info& type, std::size_t bytes, const error& why) {
  throw error{errc::argument_decode_failed, task_ran::no,
              "troupe: an item of " + std::to_string(bytes) + " bytes is no '" + type_name(type) +
                  "': " + why.what()};
}

void fail_queue_closed(const queue_core& /*queue*/, bool for_reader) {
  throw queue_closed{for_reader ? "troupe: the queue is closed, and all its items were taken"
                                : "troupe: the queue is closed, and takes no more items"};
}

struct queue_core::parts {
  parts(std::shared_ptr<region> made, queue_storage its_storage, queue_socket its_socket,
        queue_before first)
      : object{std::move(made)},
        storage{std::move(its_storage)},
        socket{std::move(its_socket)},
        before{first} {}

  std::shared_ptr<region> object;
  queue_storage storage;
  queue_socket socket;
  queue_before before;

  [[nodiscard]] queue_state& state() const { return object->state<queue_state>(); }
  [[nodiscard]] object_kind kind() const { return object->kind(); }
};

namespace {

/// What one operation does with the lock held.
class operation {
 public:
  operation(region& object, queue_storage& storage, const queue_socket& socket, queue_before before)
      : tx{object},
        state{object.state<queue_state>()},
        kind_{object.kind()},
        storage_{storage},
        socket_{socket},
        before_{before} {
    undo_heap();
    check_state();
  }

  /// Leaves nothing to be committed when it fails.
  void store(const queue_item& item);
  /// Takes the next item out; false if it was lost, and there may be another one.
  bool take(queue_item& to);
  /// An empty queue's, if it is much.
  void give_memory_back() noexcept;
  /// Waits on a channel; false once the time is over.
  [[nodiscard]] bool wait(std::size_t channel, const deadline& until) {
    if (!tx.wait(channel, until)) {
      return false;
    }
    undo_heap();  // of whoever died meanwhile
    check_state();
    return true;
  }

  transaction tx;
  queue_state& state;

 private:
  struct span_of_area {
    std::uint64_t at, bytes, index_room;
  };
  [[nodiscard]] std::uint64_t get(const shared_word& word) const { return tx.get(word); }
  [[nodiscard]] span_of_area area() const {
    return {get(state.area), get(state.area_bytes), get(state.index_room)};
  }
  [[nodiscard]] std::uint64_t record_bytes(std::uint64_t payload) const {
    return sizeof(record) + rounded(payload) +
           (kind_ == object_kind::lifo_queue ? record_alignment : 0);
  }
  /// Where the records of an area begin, and how many bytes of them there is room for.
  [[nodiscard]] static std::uint64_t records_at(const span_of_area& in) {
    return in.at + in.index_room * sizeof(std::uint64_t);
  }
  [[nodiscard]] static std::uint64_t records_room(const span_of_area& in) {
    return in.bytes - in.index_room * sizeof(std::uint64_t);
  }
  [[nodiscard]] std::uint64_t live_bytes() const;
  /// Throws error{protocol_error} if the words of the state contradict each other: what they say
  /// would be waited for, or allocated.
  void check_state() const;
  void make_room(std::uint64_t bytes);
  void move_to(std::uint64_t least_records, std::uint64_t index_room);

  // Positions count from where the records begin, and wrap.
  void copy_in(const span_of_area& to, std::uint64_t position, const void* from,
               std::uint64_t bytes);
  void copy_out(const span_of_area& from, std::uint64_t position, void* to, std::uint64_t bytes);
  [[nodiscard]] record read_record(const span_of_area& in, std::uint64_t position) {
    record found;
    copy_out(in, position, &found, sizeof found);
    check(found.bytes <= records_room(in) && record_bytes(found.bytes) <= records_room(in));
    return found;
  }
  /// Of a lifo_queue, the one that ends at `end`.
  [[nodiscard]] std::uint64_t last_record(const span_of_area& in, std::uint64_t end) {
    std::uint64_t bytes = 0;
    check(end >= record_alignment);
    copy_out(in, end - record_alignment, &bytes, sizeof bytes);
    check(bytes >= sizeof(record) + record_alignment && bytes <= end &&
          bytes % record_alignment == 0);
    return end - bytes;
  }
  [[nodiscard]] bool is_gone(std::uint64_t ticket);

  // The heap of a priority_queue.
  void undo_heap();
  void begin_journal();
  [[nodiscard]] shared_word& heap_word(std::uint64_t index);
  void set_heap(std::uint64_t index, std::uint64_t position);
  [[nodiscard]] bool is_before(std::uint64_t a, std::uint64_t b);
  void sift_up(std::uint64_t hole, std::uint64_t position);
  void sift_down(std::uint64_t count, std::uint64_t position);

  object_kind kind_;
  queue_storage& storage_;
  const queue_socket& socket_;
  queue_before before_;
};

void operation::copy_in(const span_of_area& to, std::uint64_t position, const void* from,
                        std::uint64_t bytes) {
  const std::uint64_t room = records_room(to);
  check(room != 0 && bytes <= room);
  const std::uint64_t at = position % room;
  const std::uint64_t first = std::min(bytes, room - at);
  std::byte* const begin = storage_.at(records_at(to), room);
  if (first != 0) {
    std::memcpy(begin + at, from, first);
  }
  if (bytes > first) {
    std::memcpy(begin, static_cast<const std::byte*>(from) + first, bytes - first);
  }
}

void operation::copy_out(const span_of_area& from, std::uint64_t position, void* to,
                         std::uint64_t bytes) {
  const std::uint64_t room = records_room(from);
  check(room != 0 && bytes <= room);
  const std::uint64_t at = position % room;
  const std::uint64_t first = std::min(bytes, room - at);
  const std::byte* const begin = storage_.at(records_at(from), room);
  if (first != 0) {
    std::memcpy(to, begin + at, first);
  }
  if (bytes > first) {
    std::memcpy(static_cast<std::byte*>(to) + first, begin, bytes - first);
  }
}

std::uint64_t operation::live_bytes() const {
  switch (kind_) {
    case object_kind::queue:
      return get(state.tail) - get(state.head);
    case object_kind::lifo_queue:
      return get(state.tail);
    default:
      return get(state.head);
  }
}

void operation::check_state() const {
  const span_of_area now = area();
  const std::uint64_t count = get(state.count);
  const std::uint64_t capacity = get(state.capacity);
  const std::uint64_t live = live_bytes();
  check(now.at % record_alignment == 0 && now.at <= most_storage && now.bytes <= most_storage &&
        now.index_room <= now.bytes / sizeof(std::uint64_t));
  check((kind_ != object_kind::queue || get(state.head) <= get(state.tail)) &&
        live <= records_room(now) && count <= live / sizeof(record) && (count != 0 || live == 0));
  check(
      kind_ != object_kind::priority_queue ||
      (count <= now.index_room && live <= get(state.tail) && get(state.tail) <= records_room(now)));
  check((capacity == 0 || count <= capacity) && count <= get(state.unfinished));
}

void operation::make_room(std::uint64_t bytes) {
  const span_of_area now = area();
  const std::uint64_t used =
      kind_ == object_kind::queue ? get(state.tail) - get(state.head) : get(state.tail);
  const bool index_fits = kind_ != object_kind::priority_queue || get(state.count) < now.index_room;
  if (now.bytes != 0) {
    check(now.index_room <= now.bytes / sizeof(std::uint64_t) && used <= records_room(now));
    if (index_fits && bytes <= records_room(now) - used) {
      return;
    }
  }
  const std::uint64_t live = live_bytes();
  const std::uint64_t index_room = kind_ != object_kind::priority_queue ? 0
                                   : index_fits                         ? now.index_room
                                                : std::max<std::uint64_t>(512, 2 * now.index_room);
  // Areas are powers of two, so moving everything is rare. A heap's records have gaps between them,
  // which are worth moving for only if they are half of the area.
  move_to(kind_ == object_kind::priority_queue ? 2 * live + bytes : live + bytes, index_room);
}

void operation::move_to(std::uint64_t least_records, std::uint64_t index_room) {
  const span_of_area old = area();
  const std::uint64_t index_bytes = index_room * sizeof(std::uint64_t);
  span_of_area made{0, 0, index_room};
  check(least_records < std::uint64_t{1} << 46 && index_room < std::uint64_t{1} << 40);
  made.bytes =
      std::max(least_area, std::bit_ceil(least_records)) + (index_bytes + 4095) / 4096 * 4096;
  made.at = made.bytes <= old.at ? 0 : old.at + old.bytes;
  storage_.provide(made.at, made.bytes);
  const std::uint64_t count = get(state.count);
  std::uint64_t head = 0;
  std::uint64_t tail = 0;
  // Into memory where nothing is, so that a death on the way changes nothing.
  if (kind_ == object_kind::priority_queue) {
    check(count <= made.index_room);
    std::vector<std::byte> moved;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t position = heap_word(i).load(std::memory_order_relaxed);
      const std::uint64_t bytes = record_bytes(read_record(old, position).bytes);
      check(bytes <= least_records - tail);  // or several positions mean the same record
      moved.resize(bytes);
      copy_out(old, position, moved.data(), bytes);
      copy_in(made, tail, moved.data(), bytes);
      std::memcpy(storage_.at(made.at, made.bytes) + i * sizeof tail, &tail, sizeof tail);
      tail += bytes;
    }
    head = tail;
  } else {
    const std::uint64_t begin = kind_ == object_kind::queue ? get(state.head) : 0;
    const std::uint64_t bytes = get(state.tail) - begin;
    if (bytes != 0) {
      const std::uint64_t room = records_room(old);
      check(room != 0 && bytes <= room && bytes <= made.bytes);
      const std::uint64_t first = std::min(bytes, room - begin % room);
      // Both ends at once, as mapping more moves what is mapped.
      static_cast<void>(storage_.at(made.at, made.bytes));
      const std::byte* const from = storage_.at(old.at, old.bytes);
      std::byte* const to = storage_.at(made.at, made.bytes);
      std::memcpy(to, from + begin % room, first);
      std::memcpy(to + first, from, bytes - first);
    }
    tail = bytes;
  }
  crash_step();
  tx.set(state.area, made.at);
  tx.set(state.area_bytes, made.bytes);
  tx.set(state.index_room, made.index_room);
  tx.set(state.head, head);
  tx.set(state.tail, tail);
  tx.set(state.version, get(state.version) + 1);
  tx.commit();
  storage_.release(old.at, old.bytes);
  crash_step();
}

void operation::store(const queue_item& item) {
  const std::uint64_t payload = item.bytes.size();
  const std::uint64_t bytes = record_bytes(payload);
  if (item.cargo.size() > queue_socket::most_descriptors ||
      (!item.cargo.empty() && kind_ == object_kind::priority_queue)) {
    throw error{errc::argument_encode_failed, task_ran::no,
                kind_ == object_kind::priority_queue
                    ? "troupe: an item of a priority_queue cannot have handles of shared objects "
                      "in it, as it is compared in any process"
                    : "troupe: an item of a queue can have at most 253 handles of shared objects "
                      "in it"};
  }
  make_room(bytes);
  const span_of_area now = area();
  const std::uint64_t ticket = get(state.next_ticket);
  if (!item.cargo.empty()) {
    // Spent even if this fails: what was sent with it is then of no item.
    tx.set(state.next_ticket, ticket + 1);
    tx.commit();
    socket_.send(ticket, item.cargo);
    crash_step();
  } else {
    tx.set(state.next_ticket, ticket + 1);
  }
  const std::uint64_t at = get(state.tail);
  const record header{payload, ticket, item.cargo.size(), 0};
  copy_in(now, at, &header, sizeof header);
  copy_in(now, at + sizeof header, item.bytes.data(), payload);
  if (kind_ == object_kind::lifo_queue) {
    copy_in(now, at + bytes - record_alignment, &bytes, sizeof bytes);
  }
  crash_step();
  const std::uint64_t count = get(state.count);
  if (kind_ == object_kind::priority_queue) {
    begin_journal();
    sift_up(count, at);
    tx.set(state.head, get(state.head) + bytes);
    tx.set(state.version, get(state.version) + 1);
  }
  tx.set(state.tail, at + bytes);
  tx.set(state.count, count + 1);
  tx.set(state.unfinished, get(state.unfinished) + 1);
  tx.commit();
  tx.wake(has_items);
}

bool operation::is_gone(std::uint64_t ticket) {
  const span_of_area now = area();
  if (get(state.count) == 0 || now.bytes == 0) {
    return true;
  }
  if (kind_ == object_kind::queue) {
    return ticket < read_record(now, get(state.head)).ticket || ticket >= get(state.next_ticket);
  }
  // Tickets only grow from the bottom of the stack to its top.
  for (std::uint64_t end = get(state.tail); end != 0;) {
    end = last_record(now, end);
    const std::uint64_t found = read_record(now, end).ticket;
    if (found <= ticket) {
      return found != ticket;
    }
  }
  return true;
}

bool operation::take(queue_item& to) {
  const span_of_area now = area();
  const std::uint64_t count = get(state.count);
  check(now.bytes != 0 && now.index_room <= now.bytes / sizeof(std::uint64_t));
  const std::uint64_t at = kind_ == object_kind::queue ? get(state.head)
                           : kind_ == object_kind::lifo_queue
                               ? last_record(now, get(state.tail))
                               : heap_word(0).load(std::memory_order_relaxed);
  const record header = read_record(now, at);
  const std::uint64_t bytes = record_bytes(header.bytes);
  std::byte* const room = to.bytes.extend(header.bytes);
  copy_out(now, at + sizeof header, room, header.bytes);
  bool lost = false;
  if (header.descriptors != 0) {
    auto came = socket_.peek(header.ticket, [this](std::uint64_t t) { return is_gone(t); });
    lost = !came;
    if (came) {
      to.cargo = std::move(*came);
    }
  }

  if (kind_ == object_kind::queue) {
    check(get(state.tail) - at >= bytes && (count > 1 || at + bytes == get(state.tail)));
    if (count > 1) {
      tx.set(state.head, at + bytes);
    } else {
      // From the beginning again, in memory that is still in the caches.
      tx.set(state.head, 0);
      tx.set(state.tail, 0);
    }
  } else if (kind_ == object_kind::lifo_queue) {
    tx.set(state.tail, at);
  } else {
    begin_journal();
    sift_down(count - 1, heap_word(count - 1).load(std::memory_order_relaxed));
    tx.set(state.head, count == 1 ? 0 : get(state.head) - bytes);
    if (count == 1) {
      tx.set(state.tail, 0);
    }
    tx.set(state.version, get(state.version) + 1);
  }
  tx.set(state.count, count - 1);
  if (lost) {
    tx.set(state.unfinished, get(state.unfinished) - 1);
    tx.wake(all_done);
  } else {
    tx.add(tx.own().counters[taken_and_not_done], 1);
  }
  tx.commit();
  if (get(state.capacity) != 0) {
    tx.wake(has_room);
  }
  if (header.descriptors != 0 && !lost) {
    socket_.drop();
    crash_step();
  }
  if (lost) {
    log(log_level::warning,
        "troupe: an item of a queue was lost: a process that moved its handles "
        "died");
    to = queue_item{};
  }
  return !lost;
}

void operation::give_memory_back() noexcept {
  if (get(state.count) == 0 && get(state.area_bytes) > area_to_keep) {
    try {
      move_to(0, get(state.index_room) == 0 ? 0 : 512);
    } catch (...) {  // NOLINT(bugprone-empty-catch): then it keeps what it has
    }
  }
}

// ---- the heap ----------------------------------------------------------------------------------

void operation::undo_heap() {
  const std::uint64_t size = state.journal_size.load(std::memory_order_relaxed);
  if (size == 0) {
    return;
  }
  if (get(state.journal_version) == get(state.version)) {
    const std::uint64_t last = get(state.area) + get(state.area_bytes);
    for (std::uint64_t i = std::min<std::uint64_t>(size, state.journal.size()); i-- > 0;) {
      const std::uint64_t offset = get(state.journal[i].offset);
      check(offset % sizeof(shared_word) == 0 && offset < last);
      crash_step();
      reinterpret_cast<shared_word*>(storage_.at(offset, sizeof(shared_word)))
          ->store(get(state.journal[i].value), std::memory_order_release);
    }
  }
  state.journal_size.store(0, std::memory_order_release);
  crash_step();
}

void operation::begin_journal() {
  state.journal_size.store(0, std::memory_order_release);
  crash_step();
  state.journal_version.store(get(state.version), std::memory_order_release);
  crash_step();
}

shared_word& operation::heap_word(std::uint64_t index) {
  const std::uint64_t begin = get(state.area);
  check(index < get(state.index_room) && begin % sizeof(shared_word) == 0);
  return *reinterpret_cast<shared_word*>(
      storage_.at(begin + index * sizeof(shared_word), sizeof(shared_word)));
}

void operation::set_heap(std::uint64_t index, std::uint64_t position) {
  shared_word& word = heap_word(index);
  const std::uint64_t size = state.journal_size.load(std::memory_order_relaxed);
  check(size < state.journal.size());
  state.journal[size].offset.store(get(state.area) + index * sizeof(shared_word),
                                   std::memory_order_relaxed);
  state.journal[size].value.store(word.load(std::memory_order_relaxed), std::memory_order_relaxed);
  crash_step();
  // Release: the entry is whole when it counts, and counts before the word changes.
  state.journal_size.store(size + 1, std::memory_order_release);
  crash_step();
  word.store(position, std::memory_order_release);
  crash_step();
}

bool operation::is_before(std::uint64_t a, std::uint64_t b) {
  const span_of_area now = area();
  const auto item_at = [&](std::uint64_t position, record& header) {
    header = read_record(now, position);
    // One that wraps was never written; and `room` has a header's bytes, as one was read.
    const std::uint64_t room = records_room(now) - sizeof header;
    check(position % record_alignment == 0 && position <= room && header.bytes <= room - position);
    return std::span<const std::byte>{
        storage_.at(records_at(now), records_room(now)) + position + sizeof header, header.bytes};
  };
  record first;
  record second;
  const auto one = item_at(a, first);
  const auto other = item_at(b, second);
  return before_(one, other) || (first.ticket < second.ticket && !before_(other, one));
}

void operation::sift_up(std::uint64_t hole, std::uint64_t position) {
  while (hole > 0) {
    const std::uint64_t parent = (hole - 1) / heap_arity;
    const std::uint64_t above = heap_word(parent).load(std::memory_order_relaxed);
    if (!is_before(position, above)) {
      break;
    }
    set_heap(hole, above);
    hole = parent;
  }
  set_heap(hole, position);
}

void operation::sift_down(std::uint64_t count, std::uint64_t position) {
  if (count == 0) {
    return;
  }
  std::uint64_t hole = 0;
  for (std::uint64_t child = 1; child < count; child = heap_arity * hole + 1) {
    std::uint64_t best = child;
    std::uint64_t best_position = heap_word(child).load(std::memory_order_relaxed);
    for (std::uint64_t i = child + 1; i < std::min(child + heap_arity, count); ++i) {
      const std::uint64_t other = heap_word(i).load(std::memory_order_relaxed);
      if (is_before(other, best_position)) {
        best = i;
        best_position = other;
      }
    }
    if (!is_before(best_position, position)) {
      break;
    }
    set_heap(hole, best_position);
    hole = best;
  }
  set_heap(hole, position);
}

}  // namespace

// ---- queue_core --------------------------------------------------------------------------------

queue_core::queue_core(queue_spec spec) : spec_{std::move(spec)} {}
queue_core::~queue_core() = default;

std::shared_ptr<queue_core> queue_core::create(queue_spec spec) {
  std::shared_ptr<queue_core> made{new queue_core{std::move(spec)}};
  if (!cargo_is_unloading()) {
    made->get_parts();
  }
  return made;
}

queue_core::parts& queue_core::get_parts() {
  if (far_ != nullptr) {
    far_->ensure();  // throws
  }
  if (parts* const there = ready_.load(std::memory_order_acquire)) {
    return *there;
  }
  // Not std::call_once: on some machines an exception does not get through it.
  const std::lock_guard lock{making_};
  if (!parts_) {
    queue_storage storage;
    queue_socket socket;
    auto object = region::create({.rules = &queue_rules(spec_.kind),
                                  .name = spec_.name,
                                  .payload_bytes = sizeof(queue_state),
                                  .type_tag = spec_.type_tag});
    auto& state = object->state<queue_state>();
    state.capacity = spec_.capacity;
    state.storage_id = storage.as_cargo()->id();
    state.socket_id = socket.as_cargo()->id();
    parts_ = std::make_unique<parts>(std::move(object), std::move(storage), std::move(socket),
                                     spec_.before);
  }
  ready_.store(parts_.get(), std::memory_order_release);
  return *parts_;
}

std::shared_ptr<queue_core> queue_core::load(input_archive& ar, const queue_spec& spec) {
  auto object = region::import(load_cargo(ar), queue_rules(spec.kind), spec.type_tag);
  if (object->is_elsewhere()) {
    std::shared_ptr<queue_core> made{new queue_core{spec}};
    ar.read(made->far_part_ids_.data(), sizeof made->far_part_ids_, typeid(queue_core));
    made->far_ = std::move(object);
    return made;
  }
  const auto storage = load_cargo(ar);
  const auto socket = load_cargo(ar);
  return assemble(std::move(object), storage, socket, spec);
}

std::array<std::uint64_t, 2> queue_core::part_ids(const region& object) {
  const auto& state = object.state<queue_state>();
  return {state.storage_id.load(), state.socket_id.load()};
}

std::shared_ptr<queue_core> queue_core::assemble(std::shared_ptr<region> object,
                                                 const std::shared_ptr<const cargo>& storage,
                                                 const std::shared_ptr<const cargo>& socket,
                                                 const queue_spec& spec) {
  if (part_ids(*object) != std::array{storage->id(), socket->id()}) {
    throw error{errc::protocol_error, task_ran::maybe,
                "the parts of a queue that came are not of the same one"};
  }
  std::shared_ptr<queue_core> made{new queue_core{spec}};
  made->parts_ = std::make_unique<parts>(std::move(object), queue_storage{storage},
                                         queue_socket{socket}, spec.before);
  return made;
}

void queue_core::check_comparable(const queue_item& item) const {
  if (spec_.before != nullptr) {
    static_cast<void>(spec_.before(item.bytes.bytes(), item.bytes.bytes()));
  }
}

void queue_core::save(output_archive& ar) {
  if (far_ != nullptr) {
    save_cargo(ar, far_);
    return ar.write(far_part_ids_.data(), sizeof far_part_ids_);
  }
  const parts& p = get_parts();
  save_cargo(ar, p.object);
  save_cargo(ar, p.storage.as_cargo());
  save_cargo(ar, p.socket.as_cargo());
}

queue_answer queue_core::put(std::span<const queue_item> items, std::size_t& stored,
                             const deadline& until) {
  if (items.empty()) {
    return queue_answer::done;
  }
  if (far_ != nullptr) [[unlikely]] {
    return far_queue::put(*far_, items, stored, until);
  }
  parts& p = get_parts();
  operation op{*p.object, p.storage, p.socket, p.before};
  while (stored < items.size()) {
    if (op.tx.get(op.state.closed) != 0) {
      return queue_answer::closed;
    }
    const std::uint64_t capacity = op.tx.get(op.state.capacity);
    if (capacity == 0 || op.tx.get(op.state.count) < capacity) {
      op.store(items[stored]);
      ++stored;
    } else if (!op.wait(has_room, until)) {
      return queue_answer::timed_out;
    }
  }
  return queue_answer::done;
}

queue_answer queue_core::get(std::vector<queue_item>& to, std::size_t most, const deadline& until) {
  if (far_ != nullptr) [[unlikely]] {
    return far_queue::get(*far_, to, most, until);
  }
  parts& p = get_parts();
  operation op{*p.object, p.storage, p.socket, p.before};
  for (;;) {
    // Grown one by one beyond that: the number is not ours.
    to.reserve(std::min({most, op.tx.get(op.state.count), std::uint64_t{1024}}));
    while (to.size() < most && op.tx.get(op.state.count) != 0) {
      queue_item item;
      if (to.empty()) {
        item.bytes = take_spare_buffer();
      }
      try {
        if (!op.take(item)) {
          continue;
        }
      } catch (...) {
        if (to.empty()) {
          throw;
        }
        break;  // this one stays, and those before it were taken
      }
      to.push_back(std::move(item));
    }
    if (!to.empty()) {
      op.give_memory_back();
      return queue_answer::done;
    }
    if (op.tx.get(op.state.closed) != 0) {
      return queue_answer::closed;
    }
    if (!op.wait(has_items, until)) {
      return queue_answer::timed_out;
    }
  }
}

void queue_core::task_done() {
  if (far_ != nullptr) [[unlikely]] {
    return call_far(*far_, far_op::task_done);
  }
  parts& p = get_parts();
  transaction tx{*p.object};
  queue_state& state = p.state();
  const std::uint64_t unfinished = tx.get(state.unfinished);
  if (unfinished <= tx.get(state.count)) {
    throw std::logic_error{"troupe: task_done was called more often than items were taken"};
  }
  tx.set(state.unfinished, unfinished - 1);
  shared_word& own = tx.own().counters[taken_and_not_done];
  // Another process may have taken it: then that one's count is too high by one, which matters
  // when it dies, and is bounded there by what is left.
  if (tx.get(own) != 0) {
    tx.subtract(own, 1);
  }
  if (unfinished == 1) {
    tx.wake(all_done);
  }
  tx.commit();
}

bool queue_core::join(const deadline& until) {
  if (far_ != nullptr) [[unlikely]] {
    return call_far<bool>(*far_, far_op::join, time_left(until));
  }
  parts& p = get_parts();
  transaction tx{*p.object};
  while (tx.get(p.state().unfinished) != 0) {
    check_unfinished(tx);
    if (!tx.wait(all_done, until)) {
      return false;
    }
  }
  return true;
}

void queue_core::close() {
  if (far_ != nullptr) [[unlikely]] {
    return call_far(*far_, far_op::close);
  }
  parts& p = get_parts();
  transaction tx{*p.object};
  tx.set(p.state().closed, 1);
  tx.wake(has_items);
  tx.wake(has_room);
  tx.commit();
}

bool queue_core::is_closed() {
  if (far_ != nullptr) [[unlikely]] {
    return call_far<bool>(*far_, far_op::is_closed);
  }
  parts& p = get_parts();
  const transaction tx{*p.object};
  return tx.get(p.state().closed) != 0;
}

std::size_t queue_core::size() {
  if (far_ != nullptr) [[unlikely]] {
    return call_far<std::uint64_t>(*far_, far_op::size);
  }
  parts& p = get_parts();
  const transaction tx{*p.object};
  return tx.get(p.state().count);
}

std::size_t queue_core::storage_bytes() {
  if (far_ != nullptr) [[unlikely]] {
    return call_far<std::uint64_t>(*far_, far_op::storage_bytes);
  }
  parts& p = get_parts();
  const transaction tx{*p.object};
  return tx.get(p.state().area_bytes);
}

std::size_t queue_core::capacity() {
  if (far_ != nullptr) [[unlikely]] {
    return call_far<std::uint64_t>(*far_, far_op::capacity);
  }
  return get_parts().state().capacity.load();
}

std::uint64_t queue_core::id() {
  return far_ != nullptr ? far_->id() : get_parts().object->id();
}

const std::string& queue_core::name() {
  return far_ != nullptr ? far_->name() : get_parts().object->name();
}

}  // namespace troupe::detail
