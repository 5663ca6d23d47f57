// SPDX-License-Identifier: BSD-3-Clause

// Segments of buffers: shared between processes as descriptors, and used again when no process has
// them any more.
//
// The kernel counts who has a segment. What crosses is not the descriptor that the memory was made
// with but a second one, opened anew, with a lock on it (F_OFD_SETLK): the lock belongs to this open
// file, which all copies of the descriptor have in common, whether a process owns them or they are
// in a message on its way, and it is gone with the last of them, however that ended. So the process
// that made the segment asks whether there is a lock before it uses the segment again.
//
//   made here:  file -- opened anew --> token, locked -- crosses --> token of a receiver
//                 \- view                                              \ opened anew --> view
//
// A receiver maps the memory through a third open file, without a lock, so that it can keep its
// view for the next time, when the same segment comes again: the page tables of a large view cost
// as much as a good part of reading it.
#include "troupe/detail/buffer_segment.hpp"

#include "troupe/detail/archive.hpp"
#include "troupe/detail/descriptor.hpp"
#include "troupe/detail/memory.hpp"
#include "troupe/detail/region.hpp"
#include "troupe/error.hpp"

#include "base/thread_safety.hpp"
#include "os/descriptor_attachment.hpp"
#include "os/failpoint.hpp"
#include "os/process_identity.hpp"
#include "os/sys.hpp"
#include "shared/core/free_memory.hpp"
#include "shared/data/kept_segments.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

constexpr std::size_t max_idle_bytes = std::size_t{256} << 20;
constexpr std::size_t max_idle_count = 16;
constexpr std::size_t large = std::size_t{2} << 20;

/// Few different sizes, so that a segment fits again for a buffer that is a little larger.
std::size_t rounded(std::size_t bytes) {
  constexpr std::size_t page = 4096;
  constexpr std::size_t small = std::size_t{64} << 10;
  std::size_t step = page;
  for (std::size_t power = small; power <= bytes / 2; power *= 2) {
    step = std::max(page, power / 8);
  }
  return bytes > std::numeric_limits<std::size_t>::max() - step ? bytes
                                                                : (bytes + step - 1) / step * step;
}

/// Takes or asks for a lock that belongs to the open file.
bool lock_file(int number, int operation, short kind, struct flock& what) noexcept {
  what = {};
  what.l_type = kind;
  what.l_whence = SEEK_SET;
  return ::fcntl(number, operation, &what) == 0;
}

/// What tells whether two descriptors are of the same memory.
struct memory_key {
  dev_t device = 0;
  ino_t number = 0;
  std::size_t bytes = 0;

  static std::optional<memory_key> of(int descriptor) noexcept {
    struct stat info{};
    if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size < 0) {
      return std::nullopt;
    }
    return memory_key{info.st_dev, info.st_ino, static_cast<std::size_t>(info.st_size)};
  }
  bool operator==(const memory_key&) const = default;
};

/// A segment that this process made.
struct made_segment {
  std::uint64_t id = 0;
  descriptor file;
  mapping view;

  [[nodiscard]] std::size_t capacity() const noexcept { return view.size(); }
  [[nodiscard]] std::optional<memory_key> key() const noexcept {
    return memory_key::of(file.number());
  }
  /// No process has a descriptor that crossed, and none is on its way.
  [[nodiscard]] bool is_free() const noexcept {
    struct flock found;
    return lock_file(file.number(), F_OFD_GETLK, F_WRLCK, found) && found.l_type == F_UNLCK;
  }
};

/// A segment that another process made. Does not keep that from using it again.
struct received_segment {
  std::uint64_t id = 0;
  memory_key key;
  mapping view;

  [[nodiscard]] std::size_t capacity() const noexcept { return view.size(); }
};

class buffer_segment;

/// The segments of this process.
struct segment_store {
  guarded_mutex mutex;
  std::unordered_map<std::uint64_t, std::weak_ptr<const buffer_segment>> used
      TROUPE_GUARDED_BY(mutex);
  kept_segments<made_segment> made TROUPE_GUARDED_BY(mutex){max_idle_bytes, max_idle_count};
  kept_segments<received_segment> received TROUPE_GUARDED_BY(mutex){max_idle_bytes, max_idle_count};
  std::uint32_t generation TROUPE_GUARDED_BY(mutex) = 0;  ///< of the process that kept them
  std::uint64_t forks TROUPE_GUARDED_BY(mutex) = 0;       ///< that this process and its parents did
  unsigned keepers TROUPE_GUARDED_BY(mutex) = 0;          ///< who want it to keep any

  /// Never destroyed: buffers may be global variables.
  static segment_store& instance();

  /// A forked child uses none of what its parent has kept.
  void forget_parents() TROUPE_REQUIRES(mutex) {
    if (generation != fork_generation()) {
      generation = fork_generation();
      static_cast<void>(made.clear());
      static_cast<void>(received.clear());
    }
  }
};

segment_store& segment_store::instance() {
  static segment_store* const one = [] {
    watch_forks();
    auto* made = new segment_store;
    // As the locks of region_registry.
    ::pthread_atfork(
        []() TROUPE_NO_THREAD_SAFETY_ANALYSIS {
          instance().mutex.lock();
          ++instance().forks;
        },
        []() TROUPE_NO_THREAD_SAFETY_ANALYSIS { instance().mutex.unlock(); },
        []() TROUPE_NO_THREAD_SAFETY_ANALYSIS { instance().mutex.unlock(); });
    return made;
  }();
  return *one;
}

/// Ends what is kept no longer. Processes that still map it get their memory back, too.
void discard(const std::vector<made_segment>& dropped) noexcept {
  for (const made_segment& one : dropped) {
    if (one.is_free()) {
      ::fallocate(one.file.number(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                  static_cast<off_t>(one.capacity()));
    }
  }
}

/// A segment of which this process has handles.
class buffer_segment final : public attachment {
 public:
  /// Made here, when there had been so many `forks`.
  buffer_segment(made_segment what, std::uint64_t forks, std::shared_ptr<const attachment> token)
      : attachment{what.id},
        token_{std::move(token)},
        key_{what.key().value_or(memory_key{})},
        file_{std::move(what.file)},
        view_{std::move(what.view)},
        forks_{forks},
        made_here_{true} {}
  /// It arrived. `comes_again`: the process that made it uses it again.
  buffer_segment(received_segment what, std::shared_ptr<const attachment> token, bool comes_again)
      : attachment{what.id},
        token_{std::move(token)},
        key_{what.key},
        view_{std::move(what.view)},
        reusable_{comes_again} {}
  ~buffer_segment() override;
  buffer_segment(const buffer_segment&) = delete;
  buffer_segment& operator=(const buffer_segment&) = delete;

  [[nodiscard]] int number() const noexcept override {
    return token_ ? token_->number() : file_.number();
  }
  [[nodiscard]] std::byte* bytes() const noexcept { return view_.data(); }
  [[nodiscard]] const memory_key& key() const noexcept { return key_; }

  /// Makes what crosses, if there is none yet.
  ///
  /// @returns true: when no process has it any more it comes again.
  bool prepare_to_cross() const;

 private:
  void give_back() noexcept;

  mutable std::shared_ptr<const attachment> token_;  // written once, under the store's lock
  memory_key key_;
  descriptor file_;  // of what was made here
  mapping view_;
  std::uint64_t forks_ = 0;
  bool made_here_ = false;
  mutable bool reusable_ = true;  // under the store's lock
};

bool buffer_segment::prepare_to_cross() const {
  segment_store& store = segment_store::instance();
  const mutex_guard lock{store.mutex};
  if (made_here_ && !token_ && reusable_) {
    const std::string path = "/proc/self/fd/" + std::to_string(file_.number());
    const int code = TROUPE_FAILPOINT_ERRNO("buffer.token");
    descriptor token{code != 0 ? -1 : ::open(path.c_str(), O_RDWR | O_CLOEXEC)};
    struct flock whole;
    if (token && lock_file(token.number(), F_OFD_SETLK, F_RDLCK, whole)) {
      token.keep_in_children();
      token_ = std::make_shared<const descriptor_attachment>(id(), std::move(token));
    } else {
      // Without /proc or descriptors the first open file crosses, and this process cannot see its
      // holders.
      reusable_ = false;
    }
  }
  return reusable_ && (!made_here_ || forks_ == store.forks);
}

buffer_segment::~buffer_segment() {
  give_back();
}

void buffer_segment::give_back() noexcept {
  token_.reset();
  std::vector<made_segment> made;
  std::vector<received_segment> received;
  segment_store& store = segment_store::instance();
  try {
    const mutex_guard lock{store.mutex};
    store.forget_parents();
    if (const auto at = store.used.find(id()); at != store.used.end() && at->second.expired()) {
      store.used.erase(at);
    }
    if (!reusable_ || store.keepers == 0) {
      return;
    }
    if (made_here_ && forks_ == store.forks) {
      // The same file under another number, which children do not keep.
      descriptor file{::fcntl(file_.number(), F_DUPFD_CLOEXEC, first_own_number)};
      if (file) {
        view_.keep_from_children();
        made = store.made.put({id(), std::move(file), std::move(view_)});
      }
    } else if (!made_here_ && view_.is_here()) {
      view_.keep_from_children();
      received = store.received.put({id(), key_, std::move(view_)});
    }
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch)
    // It is freed instead of kept.
  }
  discard(made);
}

made_segment make_segment(std::size_t bytes) {
  constexpr std::size_t looks_large = std::size_t{64} << 20;
  if (bytes >= looks_large) {
    // The kernel would not say no: it would kill a process for it, half-way.
    if (const std::uint64_t free = free_memory_bytes(); bytes > free) {
      throw error{errc::resource_exhausted, task_ran::no,
                  "troupe: a buffer of " + std::to_string(bytes) +
                      " bytes does not fit: " + std::to_string(free) + " bytes of memory are free"};
    }
  }
  auto [file, view] = create_payload_memory(bytes);
  return {new_attachment_id(), std::move(file), std::move(view)};
}

/// Maps what arrived. `comes_again` becomes false if the view must not outlive the token.
received_segment map_arrived(const attachment& token, const memory_key& key, bool& comes_again) {
  descriptor own;
  if (comes_again) {
    const std::string path = "/proc/self/fd/" + std::to_string(token.number());
    own.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    comes_again = static_cast<bool>(own);
  }
  void* const at = ::mmap(nullptr, key.bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                          own ? own.number() : token.number(), 0);
  if (at == MAP_FAILED) {
    sys::fail(errc::resource_exhausted,
              "troupe: cannot map a buffer of " + std::to_string(key.bytes) + " bytes", errno);
  }
  if (key.bytes >= large) {
    ::madvise(at, key.bytes, MADV_HUGEPAGE);
  }
  return {token.id(), key, mapping{static_cast<std::byte*>(at), key.bytes}};
}

/// Frees all that is kept.
void drop_idle() noexcept {
  segment_store& store = segment_store::instance();
  std::vector<made_segment> made;
  std::vector<received_segment> received;
  {
    const mutex_guard lock{store.mutex};
    store.forget_parents();
    made = store.made.clear();
    received = store.received.clear();
  }
  discard(made);
}

made_segment take_or_make(std::size_t bytes, std::uint64_t& forks) {
  segment_store& store = segment_store::instance();
  {
    const mutex_guard lock{store.mutex};
    store.forget_parents();
    forks = store.forks;
    auto found = store.made.take(bytes, [](const made_segment& one) { return one.is_free(); });
    if (found) {
      found->file.keep_in_children();
      found->view.share_with_children();
      return std::move(*found);
    }
  }
  made_segment made;
  try {
    made = make_segment(rounded(bytes));
  } catch (const error& problem) {
    if (problem.code() != errc::resource_exhausted) {
      throw;
    }
    drop_idle();  // it may be these that are missing
    made = make_segment(rounded(bytes));
  }
  made.file.keep_in_children();
  made.view.share_with_children();
  return made;
}

mapped_buffer handle_of(std::shared_ptr<const buffer_segment> segment) {
  std::byte* const bytes = segment->bytes();
  return {std::move(segment), bytes};
}

}  // namespace

mapped_buffer make_buffer(std::size_t bytes) {
  std::uint64_t forks = 0;
  made_segment what = take_or_make(bytes, forks);
  auto made = std::make_shared<const buffer_segment>(std::move(what), forks, nullptr);
  segment_store& store = segment_store::instance();
  const mutex_guard lock{store.mutex};
  store.used[made->id()] = made;
  return handle_of(std::move(made));
}

void save_buffer(output_archive& ar, const mapped_buffer& what) {
  const auto& segment = static_cast<const buffer_segment&>(*what.segment);
  const bool comes_again = segment.prepare_to_cross();
  ar(comes_again);
  save_attachment(ar, what.segment);
}

mapped_buffer load_buffer(input_archive& ar, std::size_t bytes, const std::type_info& type) {
  bool comes_again = false;
  ar(comes_again);
  auto token = load_attachment(ar);
  const auto key = memory_key::of(token->number());
  const int seals = ::fcntl(token->number(), F_GET_SEALS);
  if (!key || seals < 0 || (seals & F_SEAL_SHRINK) == 0 || key->bytes < bytes) {
    ar.fail("what came with these bytes is no memory of a buffer, or shorter than they say", type);
  }
  segment_store& store = segment_store::instance();
  // Both end after the lock, which their end takes.
  std::shared_ptr<const buffer_segment> known;
  std::shared_ptr<const buffer_segment> fresh;
  const mutex_guard lock{store.mutex};
  store.forget_parents();
  if (const auto at = store.used.find(token->id()); at != store.used.end()) {
    known = at->second.lock();
    if (known && known->key() == *key) {
      return handle_of(std::move(known));
    }
  }
  keep_in_children(*token);
  if (auto mine = store.made.take_id(token->id()); mine && mine->key() == key) {
    mine->file.keep_in_children();
    mine->view.share_with_children();
    fresh = std::make_shared<const buffer_segment>(std::move(*mine), store.forks, std::move(token));
  } else {
    auto kept = store.received.take_id(token->id());
    if (!kept || kept->key != *key) {
      kept = map_arrived(*token, *key, comes_again);
    }
    kept->view.share_with_children();
    fresh = std::make_shared<const buffer_segment>(std::move(*kept), std::move(token), comes_again);
  }
  store.used[fresh->id()] = fresh;
  return handle_of(std::move(fresh));
}

void save_buffer_size(output_archive& ar, std::size_t count, const std::type_info& element,
                      std::size_t element_bytes) {
  ar(static_cast<std::uint64_t>(count), type_tag_of(element, element_bytes));
}

std::size_t load_buffer_size(input_archive& ar, const std::type_info& element,
                             std::size_t element_bytes) {
  std::uint64_t count = 0;
  std::uint64_t tag = 0;
  ar(count, tag);
  if (tag != type_tag_of(element, element_bytes)) {
    ar.fail("they are of a buffer whose elements are of another type", element);
  }
  if (count > std::numeric_limits<std::size_t>::max() / element_bytes) {
    ar.fail("they say that a buffer is larger than any memory", element);
  }
  return static_cast<std::size_t>(count);
}

std::size_t checked_buffer_bytes(bool negative, unsigned long long count,
                                 std::size_t element_bytes) {
  if (negative) {
    throw std::invalid_argument{"troupe: the number of elements of a buffer is negative"};
  }
  if (count >
      static_cast<unsigned long long>(std::numeric_limits<std::ptrdiff_t>::max()) / element_bytes) {
    throw std::length_error{"troupe: a buffer of " + std::to_string(count) +
                            " elements is larger than any memory"};
  }
  return static_cast<std::size_t>(count) * element_bytes;
}

void fail_buffer_index(std::size_t index, std::size_t size) {
  throw std::out_of_range{"troupe: index " + std::to_string(index) + " of a buffer of " +
                          std::to_string(size)};
}

void begin_keeping_buffers() noexcept {
  segment_store& store = segment_store::instance();
  const mutex_guard lock{store.mutex};
  ++store.keepers;
}

void end_keeping_buffers() noexcept {
  segment_store& store = segment_store::instance();
  bool last = false;
  {
    const mutex_guard lock{store.mutex};
    last = --store.keepers == 0;
  }
  if (last) {
    drop_idle();
  }
}

void drop_idle_buffers_of_others() noexcept {
  segment_store& store = segment_store::instance();
  std::vector<received_segment> received;
  const mutex_guard lock{store.mutex};
  store.forget_parents();
  received = store.received.clear();
}

}  // namespace troupe::detail
