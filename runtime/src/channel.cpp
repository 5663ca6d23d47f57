// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/channel.hpp"

#include "troupe/detail/descriptor_cargo.hpp"
#include "troupe/detail/failpoint.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/detail/spin.hpp"

#include "sys.hpp"

#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace troupe::detail {

// One cache line per word that different sides write, so that neither slows the other by accident.
struct control_page {
  // Lowest task number not yet decided. The worker raises it by one to claim a task, the supervisor
  // raises it beyond the last one sent to take the rest back: whoever wins the compare-and-swap is
  // certain.
  alignas(64) std::atomic<std::uint64_t> undecided;
  alignas(64) std::atomic<std::uint64_t> tasks_tail;    // written by the supervisor
  alignas(64) std::atomic<std::uint64_t> tasks_head;    // written by the worker
  alignas(64) std::atomic<std::uint64_t> results_tail;  // written by the worker
  alignas(64) std::atomic<std::uint64_t> results_head;  // written by the supervisor
  // A reader that is about to sleep stores 1, fences, and looks again; a writer publishes, fences,
  // and rings only if exchange(0) gave 1. Any other order loses a wake-up after a million frames.
  alignas(64) std::atomic<std::uint32_t> worker_armed;
  alignas(64) std::atomic<std::uint32_t> supervisor_armed;
  alignas(64) std::atomic<std::uint32_t> room_armed;  // the worker sleeps until its ring has room
  alignas(64) std::atomic<std::uint64_t> stop_task;
  std::atomic<std::uint32_t> stop_word;
  alignas(64) std::array<std::atomic<std::uint8_t>, result_slots> result_in_use;
};

namespace {

constexpr std::size_t page_bytes = 4096;
static_assert(sizeof(control_page) <= page_bytes);
static_assert(ring_bytes % page_bytes == 0 && max_frame_bytes + sizeof(frame_header) < ring_bytes);

// The control page and the crash record are mapped together.
constexpr std::size_t crash_offset = page_bytes;
constexpr std::size_t control_bytes = page_bytes + crash_record_bytes;
constexpr std::size_t tasks_offset = control_bytes;
constexpr std::size_t results_offset = control_bytes + ring_bytes;
constexpr std::size_t memory_bytes = control_bytes + 2 * ring_bytes;
static_assert(control_bytes % page_bytes == 0);

/// Mappings of others' segments kept for the next payload in the same segment.
constexpr std::size_t max_views = 16;

/// Between a store and a later load of another word, which no order of theirs keeps in order.
void full_fence() noexcept {
#if defined(__SANITIZE_THREAD__)
  // ThreadSanitizer takes no fences. This is one to the processor; to the sanitizer it orders
  // nothing between threads, and needs not: what is read after a wake-up was released by its tail.
  std::atomic<int> nobodys{0};
  nobodys.fetch_add(1);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

constexpr std::size_t frame_bytes(std::size_t payload) {
  return sizeof(frame_header) + (payload + 7) / 8 * 8;
}

// Messages on the socket.
constexpr std::byte bell{'!'};
constexpr std::byte segment_message{'S'};
constexpr std::byte cargo_message{'C'};
constexpr std::byte hello_message{'H'};
constexpr std::size_t max_hello_bytes = 256;

struct segment_announcement {
  std::byte kind{};
  std::array<std::byte, 7> padding{};
  std::uint64_t id = 0;
};

sys::send_status send_bell(int socket) noexcept {
  return sys::send(socket, std::span{&bell, 1}, {}, false);
}

sys::send_status announce(int socket, std::uint64_t id, const descriptor& reader, bool block) {
  segment_announcement message{};
  message.kind = segment_message;
  message.id = id;
  const int number = reader.number();
  return sys::send(socket, std::as_bytes(std::span{&message, 1}), std::span{&number, 1}, block);
}

/// Shared objects: their ids, in the order of the descriptors.
struct cargo_announcement {
  std::byte kind{};
  std::array<std::byte, 3> padding{};
  std::uint32_t count = 0;
  std::uint64_t number = 0;
  std::array<std::uint64_t, max_cargo> ids{};  // `count` of them are sent
};

constexpr std::size_t announcement_bytes(std::size_t count) {
  return offsetof(cargo_announcement, ids) + count * sizeof(std::uint64_t);
}

sys::send_status announce_cargo(int socket, std::uint64_t number, const cargo_list& what,
                                bool block) {
  cargo_announcement message{};
  message.kind = cargo_message;
  message.count = static_cast<std::uint32_t>(std::min(what.size(), max_cargo));
  message.number = number;
  std::array<int, max_cargo> numbers{};
  for (std::size_t i = 0; i < message.count; ++i) {
    message.ids[i] = what[i]->id();
    numbers[i] = what[i]->number();
  }
  return sys::send(socket,
                   std::as_bytes(std::span{&message, 1}).first(announcement_bytes(message.count)),
                   std::span{numbers}.first(message.count), block);
}

/// Puts what arrived where it is looked for; false: it is no such message.
bool keep_cargo(std::map<std::uint64_t, cargo_list>& kept, const std::byte* bytes,
                sys::received& message) {
  cargo_announcement announcement{};
  if (bytes[0] != cargo_message || message.bytes < announcement_bytes(0)) {
    return false;
  }
  std::memcpy(&announcement, bytes, std::min(message.bytes, sizeof announcement));
  // Fewer descriptors arrive when this process may have no more: what needs them fails to decode.
  if (announcement.count > max_cargo || message.bytes != announcement_bytes(announcement.count) ||
      message.descriptors.size() > announcement.count) {
    return false;
  }
  cargo_list& list = kept[announcement.number];
  list.clear();
  for (std::size_t i = 0; i < message.descriptors.size(); ++i) {
    list.push_back(std::make_shared<const descriptor_cargo>(announcement.ids[i],
                                                            std::move(message.descriptors[i])));
  }
  return true;
}

/// Finds the mapping of segment `id` among those kept, or makes it from a descriptor that arrived.
template <class Views, class Arrived>
std::shared_ptr<const mapping> find_view(Views& views, Arrived& arrived, std::uint64_t id,
                                         std::uint64_t bytes) {
  // The newest descriptor wins: ids are never reused, so an older one names the same memory.
  descriptor fresh;
  for (auto it = arrived.begin(); it != arrived.end();) {
    if (it->first == id) {
      fresh = std::move(it->second);
      it = arrived.erase(it);
    } else {
      ++it;
    }
  }
  const auto known =
      std::find_if(views.begin(), views.end(), [id](const auto& view) { return view.first == id; });
  if (known != views.end() && known->second->size() >= bytes) {
    auto view = *known;
    views.erase(known);
    views.push_front(view);
    return view.second;
  }
  if (!fresh) {
    return nullptr;
  }
  // All of it is mapped, so that the next payload in this segment finds the mapping here.
  struct stat info{};
  const std::size_t whole = ::fstat(fresh.number(), &info) == 0 && info.st_size > 0
                                ? static_cast<std::size_t>(info.st_size)
                                : 0;
  if (whole < bytes) {
    throw error{errc::protocol_error, task_ran::maybe,
                "a payload of " + std::to_string(bytes) + " bytes in a segment of " +
                    std::to_string(whole)};
  }
  auto view = std::make_shared<const mapping>(map_foreign(fresh, whole));
  views.emplace_front(id, view);
  if (views.size() > max_views) {
    views.pop_back();
  }
  return view;
}

}  // namespace

// ---- the supervisor's end ----------------------------------------------------------------------

supervisor_channel::supervisor_channel() {
  auto [here, there] = sys::socket_pair();
  socket_ = std::move(here);
  far_.socket = std::move(there);
  far_.memory = create_memory("troupe-channel", memory_bytes);
  control_memory_ = std::make_shared<mapping>(map_memory(far_.memory, 0, control_bytes));
  tasks_ = map_ring(far_.memory, tasks_offset, ring_bytes);
  results_ = map_ring(far_.memory, results_offset, ring_bytes);
  control_ = new (control_memory_->data()) control_page{};
}

supervisor_channel::~supervisor_channel() = default;

void supervisor_channel::break_channel(std::string why) {
  rings_broken_ = true;
  if (state_ != channel_state::broken) {
    state_ = channel_state::broken;
    what_broke_ = std::move(why);
  }
}

std::byte* supervisor_channel::begin_frame(std::size_t bytes) noexcept {
  const std::uint64_t head = control_->tasks_head.load(std::memory_order_acquire);
  // Untrusted: a head outside of what was written would let frames overwrite each other.
  if (head > tasks_tail_ || tasks_tail_ - head > ring_bytes) {
    break_channel("the worker's read position of the task ring is impossible");
    return nullptr;
  }
  if (bytes > max_frame_bytes || ring_bytes - (tasks_tail_ - head) < frame_bytes(bytes)) {
    return nullptr;
  }
  return tasks_.data() + tasks_tail_ % ring_bytes + sizeof(frame_header);
}

void supervisor_channel::publish(const frame_header& header) noexcept {
  std::memcpy(tasks_.data() + tasks_tail_ % ring_bytes, &header, sizeof header);
  tasks_tail_ += frame_bytes(header.bytes);
  control_->tasks_tail.store(tasks_tail_, std::memory_order_release);  // partner: take_frames
}

void supervisor_channel::ring_bell() noexcept {
  full_fence();  // partner: the fence in wait_for_frames
  if (control_->worker_armed.load(std::memory_order_relaxed) != 0 &&
      control_->worker_armed.exchange(0) == 1) {
    // A full socket means unread bells are waiting, so the worker will wake up anyway. A closed one
    // is noticed by read_socket.
    send_bell(socket_.number());
  }
}

bool supervisor_channel::send_segment(std::uint64_t id, const descriptor& reader) noexcept {
  return announce(socket_.number(), id, reader, false) != sys::send_status::full;
}

bool supervisor_channel::next_frame(frame_header& header,
                                    std::span<const std::byte>& payload) noexcept {
  if (rings_broken_) {
    return false;
  }
  const std::uint64_t tail = control_->results_tail.load(std::memory_order_acquire);
  if (tail == results_head_) {
    return false;
  }
  const std::uint64_t available = tail - results_head_;
  if (available > ring_bytes || available < sizeof(frame_header)) {
    break_channel("the worker's write position of the result ring is impossible");
    return false;
  }
  const std::byte* at = results_.data() + results_head_ % ring_bytes;
  std::memcpy(&header, at, sizeof header);
  if (header.bytes > max_frame_bytes || frame_bytes(header.bytes) > available) {
    break_channel("a result frame says it is longer than what was written");
    return false;
  }
  payload = {at + sizeof header, header.bytes};
  results_head_ += frame_bytes(header.bytes);
  return true;
}

void supervisor_channel::finish_reading() noexcept {
  if (control_->results_head.load(std::memory_order_relaxed) != results_head_) {
    control_->results_head.store(results_head_, std::memory_order_release);  // partner: push
    full_fence();  // partner: the fence in push
    if (control_->room_armed.load(std::memory_order_relaxed) != 0 &&
        control_->room_armed.exchange(0) == 1) {
      send_bell(socket_.number());
    }
  }
}

bool supervisor_channel::arm() noexcept {
  control_->supervisor_armed.store(1, std::memory_order_relaxed);
  full_fence();  // partner: the fence in worker ring_bell
  if (control_->results_tail.load(std::memory_order_acquire) == results_head_) {
    return true;
  }
  control_->supervisor_armed.store(0, std::memory_order_relaxed);
  return false;
}

bool supervisor_channel::readable() const noexcept {
  return control_->results_tail.load(std::memory_order_relaxed) != results_head_;
}

bool supervisor_channel::send_cargo(std::uint64_t number, const cargo_list& what) noexcept {
  return announce_cargo(socket_.number(), number, what, false) != sys::send_status::full;
}

void supervisor_channel::read_socket() {
  if (state_ == channel_state::closed) {
    return;
  }
  // One byte more than any message; not initialised: recv fills what is used.
  std::array<std::byte, sizeof(cargo_announcement) + 1> buffer;
  static_assert(sizeof(cargo_announcement) > max_hello_bytes);
  for (;;) {
    sys::received message = sys::receive(socket_.number(), buffer, false);
    if (message.status == sys::receive_status::empty) {
      return;
    }
    if (message.status == sys::receive_status::closed) {
      if (state_ == channel_state::open) {
        state_ = channel_state::closed;
      }
      return;
    }
    if (message.bytes == 1 && buffer[0] == bell && message.descriptors.empty()) {
      continue;
    }
    if (message.bytes == sizeof(segment_announcement) && buffer[0] == segment_message &&
        message.descriptors.size() == 1 && arrived_.size() < result_slots) {
      segment_announcement announcement{};
      std::memcpy(&announcement, buffer.data(), sizeof announcement);
      arrived_.emplace_back(announcement.id, std::move(message.descriptors.front()));
      continue;
    }
    if (cargo_.size() < result_slots && keep_cargo(cargo_, buffer.data(), message)) {
      continue;
    }
    if (buffer[0] == hello_message && message.bytes <= max_hello_bytes && hello_.empty() &&
        message.descriptors.empty()) {
      hello_.assign(reinterpret_cast<const char*>(buffer.data()) + 1, message.bytes - 1);
      continue;
    }
    if (state_ != channel_state::broken) {
      state_ = channel_state::broken;
      what_broke_ = "something wrote " + std::to_string(message.bytes) +
                    " bytes that are no message to its channel's descriptor";
    }
  }
}

cargo_list supervisor_channel::take_cargo(std::uint64_t number) {
  auto found = cargo_.find(number);
  if (found == cargo_.end()) {
    read_socket();  // it was sent before the frame, so it is in the socket at the latest
    found = cargo_.find(number);
  }
  if (found == cargo_.end()) {
    throw error{errc::protocol_error, task_ran::maybe,
                "a result refers to shared objects never handed over"};
  }
  cargo_list what = std::move(found->second);
  cargo_.erase(found);
  return what;
}

std::shared_ptr<const foreign_payload> supervisor_channel::open_payload(
    const segment_reference& where) {
  if (where.slot > result_slots) {
    throw error{errc::protocol_error, task_ran::maybe, "a result names a slot that does not exist"};
  }
  auto view = find_view(views_, arrived_, where.id, where.bytes);
  if (!view) {
    // Its descriptor was sent before the frame, so it is in the socket at the latest.
    read_socket();
    view = find_view(views_, arrived_, where.id, where.bytes);
  }
  if (!view) {
    throw error{errc::protocol_error, task_ran::maybe,
                "a result names a segment never handed over"};
  }
  // Slot `result_slots` means: used once, nobody waits for it.
  std::atomic<std::uint8_t>* in_use =
      where.slot < result_slots ? &control_->result_in_use[where.slot] : nullptr;
  return std::make_shared<const foreign_payload>(
      std::move(view), static_cast<std::size_t>(where.bytes), control_memory_, in_use);
}

std::uint64_t supervisor_channel::undecided() const noexcept {
  return control_->undecided.load(std::memory_order_acquire);
}

std::uint64_t supervisor_channel::revoke(std::uint64_t end) noexcept {
  std::uint64_t first = control_->undecided.load(std::memory_order_acquire);
  while (first < end && !control_->undecided.compare_exchange_weak(first, end)) {
  }
  return std::min(first, end);
}

void supervisor_channel::request_stop(std::uint64_t number) noexcept {
  if (number < control_->stop_task.load(std::memory_order_relaxed)) {
    return;  // what was begun later than it has the main thread
  }
  control_->stop_task.store(number);
  control_->stop_word.fetch_add(1);
  futex_wake_all(control_->stop_word, true);
}

std::optional<crash_report> supervisor_channel::crash() const {
  return read_crash_record({control_memory_->data() + crash_offset, crash_record_bytes});
}

// ---- the worker's end --------------------------------------------------------------------------

worker_channel::worker_channel(channel_ends ends)
    : socket_{std::move(ends.socket)},
      control_memory_{map_memory(ends.memory, 0, control_bytes)},
      control_{std::launder(reinterpret_cast<control_page*>(control_memory_.data()))},
      tasks_{map_ring(ends.memory, tasks_offset, ring_bytes)},
      results_{map_ring(ends.memory, results_offset, ring_bytes)} {}

std::span<std::byte> worker_channel::crash_record() noexcept {
  return {control_memory_.data() + crash_offset, crash_record_bytes};
}

void worker_channel::send_hello(std::string_view hello) {
  std::string message{static_cast<char>(hello_message)};
  message += hello;
  sys::send(socket_.number(), std::as_bytes(std::span{message}), {}, true);
}

std::size_t worker_channel::take_frames(std::string& out, std::size_t max_bytes) {
  const std::uint64_t tail = control_->tasks_tail.load(std::memory_order_acquire);
  std::uint64_t end = tail;
  if (tail - tasks_head_ > max_bytes) {
    // Whole frames only; the supervisor is trusted by its workers.
    end = tasks_head_;
    for (;;) {
      frame_header header;
      std::memcpy(&header, tasks_.data() + end % ring_bytes, sizeof header);
      const std::uint64_t next = end + frame_bytes(header.bytes);
      if (end != tasks_head_ && next - tasks_head_ > max_bytes) {
        break;
      }
      end = next;
      if (end >= tail || end - tasks_head_ >= max_bytes) {
        break;
      }
    }
  }
  const std::size_t count = static_cast<std::size_t>(end - tasks_head_);
  out.append(reinterpret_cast<const char*>(tasks_.data() + tasks_head_ % ring_bytes), count);
  tasks_head_ = end;
  control_->tasks_head.store(end, std::memory_order_release);  // partner: begin_frame
  return count;
}

bool worker_channel::read_socket(bool wait) {
  // All of it: the kernel keeps only a few unread messages (net.unix.max_dgram_qlen, 10 by
  // default).
  for (;;) {
    std::array<std::byte, sizeof(cargo_announcement)> buffer;  // not initialised
    sys::received message = sys::receive(socket_.number(), buffer, wait);
    if (message.status != sys::receive_status::message) {
      return message.status == sys::receive_status::empty;
    }
    wait = false;
    if (message.bytes == sizeof(segment_announcement) && buffer[0] == segment_message &&
        message.descriptors.size() == 1) {
      segment_announcement announcement{};
      std::memcpy(&announcement, buffer.data(), sizeof announcement);
      arrived_.emplace_back(announcement.id, std::move(message.descriptors.front()));
    } else if (!message.descriptors.empty()) {
      keep_cargo(cargo_, buffer.data(), message);
    }
  }
}

bool worker_channel::wait_for_frames() {
  const auto anything = [this] {
    return control_->tasks_tail.load(std::memory_order_acquire) != tasks_head_;
  };
  const spin_watch watch;
  if (short_waits_ && spinning_helps()) {
    while (watch.worth_going_on()) {
      if (anything()) {
        return true;
      }
      watch.pause();
    }
  }
  while (!anything()) {
    control_->worker_armed.store(1, std::memory_order_relaxed);
    full_fence();  // partner: supervisor ring_bell
    if (anything()) {
      break;
    }
    if (!read_socket(true)) {
      return false;
    }
  }
  control_->worker_armed.store(0, std::memory_order_relaxed);
  short_waits_ = watch.was_short();
  return true;
}

bool worker_channel::prepare_to_sleep() noexcept {
  control_->worker_armed.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // partner: supervisor ring_bell
  if (control_->tasks_tail.load(std::memory_order_acquire) == tasks_head_) {
    return true;
  }
  control_->worker_armed.store(0, std::memory_order_relaxed);
  return false;
}

descriptor worker_channel::readiness() const {
  descriptor made{::epoll_create1(EPOLL_CLOEXEC)};
  epoll_event event{};
  event.events = EPOLLIN;
  if (!made || ::epoll_ctl(made.number(), EPOLL_CTL_ADD, socket_.number(), &event) != 0) {
    throw error{errc::resource_exhausted, task_ran::no,
                std::string{"cannot watch the channel: "} + std::strerror(errno)};
  }
  return made;
}

bool worker_channel::claim(std::uint64_t number) noexcept {
  std::uint64_t expected = control_->undecided.load(std::memory_order_acquire);
  while (expected <= number) {
    if (control_->undecided.compare_exchange_weak(expected, number + 1)) {
      return true;
    }
  }
  return false;
}

bool worker_channel::push(frame_kind kind, std::uint16_t flags, std::uint64_t number,
                          std::span<const std::byte> head, std::span<const std::byte> body) {
  const std::size_t bytes = head.size() + body.size();
  const std::size_t needed = frame_bytes(bytes);
  const auto room = [&] {
    return ring_bytes - (results_tail_ - control_->results_head.load(std::memory_order_acquire)) >=
           needed;
  };
  while (!room()) {
    ring_bell();
    control_->room_armed.store(1, std::memory_order_relaxed);
    full_fence();  // partner: the fence in finish_reading
    if (room()) {
      break;
    }
    if (!read_socket(true)) {
      return false;
    }
  }
  control_->room_armed.store(0, std::memory_order_relaxed);
  std::byte* at = results_.data() + results_tail_ % ring_bytes;
  const frame_header header{static_cast<std::uint32_t>(bytes), kind, flags, number};
  std::memcpy(at, &header, sizeof header);
  if (!head.empty()) {
    std::memcpy(at + sizeof header, head.data(), head.size());
  }
  if (!body.empty()) {
    std::memcpy(at + sizeof header + head.size(), body.data(), body.size());
  }
  if (kind == frame_kind::result) {
    TROUPE_FAILPOINT("worker.result_half_written");
  }
  results_tail_ += needed;
  control_->results_tail.store(results_tail_, std::memory_order_release);  // partner: next_frame
  return true;
}

void worker_channel::ring_bell() noexcept {
  rung_tail_ = results_tail_;
  full_fence();  // partner: supervisor arm
  if (control_->supervisor_armed.load(std::memory_order_relaxed) != 0 &&
      control_->supervisor_armed.exchange(0) == 1) {
    send_bell(socket_.number());
  }
}

void worker_channel::ring_bell_after_claim() noexcept {
  if (rung_tail_ == results_tail_) {
    return;  // nothing was published since
  }
  rung_tail_ = results_tail_;
#if defined(__x86_64__)
  // The locked instruction of the claim orders the last publication before this load.
  std::atomic_signal_fence(std::memory_order_seq_cst);
#else
  full_fence();
#endif
  if (control_->supervisor_armed.load(std::memory_order_relaxed) != 0 &&
      control_->supervisor_armed.exchange(0) == 1) {
    send_bell(socket_.number());
  }
}

bool worker_channel::send_segment(std::uint64_t id, const descriptor& reader) {
  return announce(socket_.number(), id, reader, true) == sys::send_status::sent;
}

std::atomic<std::uint8_t>& worker_channel::result_slot(std::size_t slot) noexcept {
  return control_->result_in_use[slot];
}

bool worker_channel::send_cargo(std::uint64_t number, const cargo_list& what) {
  return announce_cargo(socket_.number(), number, what, true) == sys::send_status::sent;
}

cargo_list worker_channel::take_cargo(std::uint64_t number) {
  for (bool wait = false;; wait = true) {
    const bool alive = read_socket(wait);
    const auto found = cargo_.find(number);
    if (found != cargo_.end()) {
      cargo_list what = std::move(found->second);
      cargo_.erase(found);
      return what;
    }
    if (!alive) {
      throw error{errc::protocol_error, task_ran::no, "the supervisor is gone"};
    }
  }
}

std::shared_ptr<const mapping> worker_channel::open_payload(const segment_reference& where) {
  // The announcement was sent before the frame, so it is here by now.
  for (bool wait = false;; wait = true) {
    const bool alive = read_socket(wait);
    if (auto view = find_view(views_, arrived_, where.id, where.bytes)) {
      return view;
    }
    if (!alive) {
      throw error{errc::protocol_error, task_ran::no, "the supervisor is gone"};
    }
  }
}

const std::atomic<std::uint32_t>& worker_channel::stop_word() const noexcept {
  return control_->stop_word;
}

std::uint64_t worker_channel::stop_requested_for() const noexcept {
  return control_->stop_task.load();
}

}  // namespace troupe::detail
