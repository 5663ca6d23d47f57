// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"
#include "troupe/detail/descriptor.hpp"
#include "troupe/detail/memory.hpp"
#include "troupe/detail/robust_lock.hpp"
#include "troupe/detail/thread_safety.hpp"
#include "troupe/objects.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

// The memory of one shared object: a header, a slot for each process that has it, and the payload.
//
//   header | slot 0 | slot 1 | ... | slot 239 | payload
//   16 KiB                                    | page-aligned
//
// Nothing in it is an address: every process maps it elsewhere.
namespace troupe::detail {

/// A number in shared memory.
using shared_word = std::atomic<std::uint64_t>;
static_assert(sizeof(shared_word) == 8 && shared_word::is_always_lock_free);

inline constexpr std::size_t wait_channels = 3;
inline constexpr std::size_t slot_counters = 3;
inline constexpr std::size_t region_slots = 240;

/// What one process has to do with the object: its line in the ledger.
struct alignas(64) process_slot {
  shared_word owner;   ///< the identity of a process; 0: free, and all the others are 0 then
  shared_word mapped;  ///< 1 while the process has a handle
  std::array<shared_word, wait_channels> waiting;   ///< its threads asleep on each channel
  std::array<shared_word, slot_counters> counters;  ///< for the kind of object to use
};
static_assert(sizeof(process_slot) == 64);

/// Where threads wait for a kind of change.
struct wait_channel {
  std::atomic<std::uint32_t> generation;  ///< a futex word; raised by every change
  std::uint32_t unused;
  shared_word waiters;  ///< the sum of the slots' `waiting`
};

struct undo_entry {
  shared_word offset;  ///< of a word, from the region's begin
  shared_word value;   ///< what it was
};
inline constexpr std::size_t undo_entries = 24;

struct region_header {
  std::uint64_t magic;
  std::uint32_t version;
  object_kind kind;
  std::uint64_t total_bytes;
  std::uint64_t id;
  std::uint64_t type_tag;  ///< of the elements' type
  std::uint64_t payload_bytes;
  std::uint32_t slots_offset;
  std::uint32_t slot_count;
  std::uint32_t payload_offset;
  std::uint32_t flags;
  std::int64_t creator;
  std::array<char, 256> name;  ///< ends with a zero

  // Each with lines of its own: processors fetch two at a time.
  alignas(128) lock_state lock;
  alignas(128) lock_state second_lock;  ///< for kinds that have two sides: the readers' of a queue
  shared_word last_sweep;               ///< nanoseconds of CLOCK_MONOTONIC
  std::atomic<std::uint32_t> slots_used;  ///< no process ever had a slot from here on
  std::atomic<std::uint32_t> undo_size;   ///< of the log, 0: nothing is being changed
  std::array<undo_entry, undo_entries> undo;
  std::array<wait_channel, wait_channels> channels;
};
static_assert(sizeof(region_header) == 1024);

class region;
class transaction;
class ended_processes;

/// What handles do with the objects of a kind, whatever the types of their elements. Each kind has
/// an interface of its own below this one, and two implementations of it: one for memory that is
/// here, in the kind's room, and one that sends messages to the exporter, in shared/remote. A
/// region has one of them from the start, so that no operation asks which it is. They have no
/// state: that is the region's.
class object_operations {
 public:
  constexpr object_operations() = default;
  object_operations(const object_operations&) = delete;
  object_operations& operator=(const object_operations&) = delete;

 protected:
  ~object_operations() = default;
};

/// What a region has instead of memory when its object is on another machine: see shared/remote.
class remote_object {
 public:
  remote_object() = default;
  remote_object(const remote_object&) = delete;
  remote_object& operator=(const remote_object&) = delete;
  virtual ~remote_object() = default;
};

/// What is the same for all objects of a kind.
struct object_rules {
  object_kind kind = object_kind::none;
  /// The least payload that one of them has.
  std::size_t min_payload_bytes = 0;
  /// The most: what is copied out of an object of another machine is as large as that says.
  std::size_t max_payload_bytes = std::numeric_limits<std::size_t>::max();
  /// Called in a transaction with the slot of a process that is dead: gives back what it held, so
  /// that all its counters are 0. `waiting` is dealt with already, and all waiting threads are
  /// woken. Null: the kind has no ledger, and uses the lock for something else.
  void (*recover)(transaction& tx, process_slot& dead) = nullptr;
  /// The operations of an object that is here. Null: the kind has none but its memory.
  const object_operations& (*local)() noexcept = nullptr;
};

struct region_spec {
  const object_rules* rules = nullptr;
  std::string name = {};
  std::size_t payload_bytes = 0;
  std::uint64_t type_tag = 0;
  /// Writes what the payload begins with, which is all zeros before; no other thread sees it yet.
  void (*init)(region& made) = nullptr;
  /// Its users write the payload without the lock, so it cannot be exported to another machine.
  bool unguarded = false;
};

/// One shared object in this process. There is one of them for an object, however often its handle
/// arrives. One that is on another machine has no memory here, and a remote_object instead: its
/// operations become messages (object_sink.hpp).
///
/// @threads any.
/// @crosses as attachments.
class region final : public attachment, public std::enable_shared_from_this<region> {
 public:
  /// A new object, zeros but for what `spec.init` writes.
  ///
  /// @throws error{resource_exhausted}.
  [[nodiscard]] static std::shared_ptr<region> create(const region_spec& spec);

  /// The same for default constructors: while a value is being decoded, whose handles are about to
  /// be replaced by those that came, the object is made at its first use and not before. Copies of
  /// the handle are the same object also then.
  [[nodiscard]] static std::shared_ptr<region> create_default(const region_spec& spec);

  /// The object that arrived; the one that is here already if this process has it.
  ///
  /// @throws error{protocol_error} if it is none, or one of another kind or element type;
  ///   error{resource_exhausted}.
  [[nodiscard]] static std::shared_ptr<region> import(const std::shared_ptr<const attachment>& from,
                                                      const object_rules& rules,
                                                      std::uint64_t type_tag = 0);

  /// A POSIX shared memory object with a name, mapped by `open_named` too. `name` was checked.
  ///
  /// @throws std::system_error{file_exists}, {no_such_file_or_directory}.
  [[nodiscard]] static std::shared_ptr<region> create_named(const region_spec& spec);
  [[nodiscard]] static std::shared_ptr<region> open_named(const std::string& name,
                                                          const object_rules& rules);

  /// The object that a descriptor is of, of any kind; null if it is of something else.
  ///
  /// @throws as import.
  [[nodiscard]] static std::shared_ptr<region> import_any(
      const std::shared_ptr<const attachment>& from);

  /// An object of another machine. `operations` may be null, as in `object_rules::local`.
  [[nodiscard]] static std::shared_ptr<region> imported(region_spec spec, std::uint64_t id,
                                                        std::unique_ptr<remote_object> remote,
                                                        const object_operations* operations);

  ~region() override;
  region(const region&) = delete;
  region& operator=(const region&) = delete;

  [[nodiscard]] int number() const noexcept override { return memory_.number(); }
  [[nodiscard]] const object_rules& rules() const noexcept { return *spec_.rules; }
  [[nodiscard]] object_kind kind() const noexcept { return spec_.rules->kind; }
  [[nodiscard]] const std::string& name() const noexcept { return spec_.name; }
  [[nodiscard]] std::size_t payload_bytes() const noexcept { return spec_.payload_bytes; }
  [[nodiscard]] std::uint64_t type_tag() const noexcept { return spec_.type_tag; }

  /// Its memory is mapped, so it is here: the short inline ways of operations may be taken. False:
  /// `operations` knows what to do.
  [[nodiscard]] bool is_mapped() const noexcept {
    return begin_.load(std::memory_order_acquire) != nullptr;
  }
  /// Maps the memory of a `create_default` that was not used before. Called before all that reads
  /// the memory.
  ///
  /// @throws error{not_on_this_machine}; error{resource_exhausted}.
  void ensure() {
    if (!is_mapped()) [[unlikely]] {
      make();
    }
  }
  /// The same, but an object of another machine stays without memory.
  ///
  /// @throws error{resource_exhausted}.
  void ensure_if_local() {
    if (!is_mapped() && !is_imported()) [[unlikely]] {
      make();
    }
  }
  /// What its handles do, with memory that is mapped or by messages. `Operations` is the interface
  /// of its kind.
  ///
  /// @throws error{resource_exhausted} from the first use of a `create_default`.
  template <class Operations>
  [[nodiscard]] const Operations& operations() {
    ensure_if_local();
    return static_cast<const Operations&>(*operations_);
  }
  /// The object is on another machine.
  [[nodiscard]] bool is_imported() const noexcept { return remote_ != nullptr; }
  [[nodiscard]] remote_object* remote() const noexcept { return remote_.get(); }
  [[nodiscard]] std::byte* begin() const noexcept { return begin_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t total_bytes() const noexcept { return view_.size(); }
  [[nodiscard]] region_header& header() const noexcept {
    return *reinterpret_cast<region_header*>(begin());
  }
  [[nodiscard]] lock_state& lock() const noexcept { return header().lock; }
  /// Taken after `lock` by a thread that takes both.
  [[nodiscard]] lock_state& second_lock() const noexcept { return header().second_lock; }
  [[nodiscard]] std::byte* payload() const noexcept { return begin() + payload_offset(); }
  /// The payload as what `spec.init` made of it: a struct of shared words, say.
  template <class State>
  [[nodiscard]] State& state() const noexcept {
    return *reinterpret_cast<State*>(payload());
  }
  [[nodiscard]] std::span<process_slot, region_slots> slots() const noexcept {
    return std::span<process_slot, region_slots>{
        reinterpret_cast<process_slot*>(begin() + slots_offset()), region_slots};
  }

  /// Those that processes have or had: looking for one costs nothing for all the others.
  [[nodiscard]] std::span<process_slot> used_slots() const noexcept;

  /// The slot of this process; a forked child takes one of its own at its first call.
  ///
  /// @throws error{resource_exhausted} if 240 processes have the object.
  [[nodiscard]] process_slot& own_slot();

  /// Gives back what processes held that are dead, and wakes the threads that wait for it.
  ///
  /// @returns how many dead processes there were.
  std::size_t recover_dead();
  /// The same, with what is known of the processes already.
  std::size_t recover_dead(ended_processes& known);
  /// The same, unless any process did it a moment ago.
  void sweep();

  /// A session is to other machines what a process is to this one: it has a slot, with `identity`
  /// as its owner, that of a thread which lives as long as the session. Null: there is no room.
  [[nodiscard]] process_slot* claim_slot_for(std::uint64_t identity) noexcept;
  /// The session has no handle any more. False: it still holds something, its slot stays.
  bool leave_slot_of(std::uint64_t identity) noexcept;
  /// The session is over: gives back what it held.
  void end_slot_of(std::uint64_t identity);

  [[nodiscard]] bool is_unguarded() const noexcept;

  [[nodiscard]] object_info info();

  static constexpr std::size_t slots_offset() noexcept { return 1024; }
  static constexpr std::size_t payload_offset() noexcept {
    return slots_offset() + region_slots * sizeof(process_slot);
  }

 private:
  friend struct region_registry;
  region(region_spec spec, std::uint64_t id);
  void make();
  void lay_out(std::uint32_t flags);
  void adopt();
  [[nodiscard]] process_slot* claim_slot() noexcept;
  [[nodiscard]] process_slot* slot_of(std::uint64_t identity) noexcept;
  void free_slot() noexcept;
  void recover_slot(process_slot& slot, std::uint64_t dead);

  region_spec spec_;
  /// Guards what `make` writes, until `begin_` is set. No annotation: then it is read without.
  guarded_mutex making_;
  descriptor memory_;
  mapping view_;
  std::atomic<std::byte*> begin_{nullptr};
  std::atomic<process_slot*> own_{nullptr};
  std::atomic<std::uint32_t> own_generation_{0};  ///< of forks, when `own_` was claimed
  std::unique_ptr<remote_object> remote_;         ///< of an object on another machine
  const object_operations* operations_ = nullptr;
  bool registered_ = false;
  bool named_ = false;
};

/// Every object that this process has a handle of.
[[nodiscard]] std::vector<object_info> live_objects();

/// Replays the ledgers of processes that died, in every object this process has, and wakes the
/// threads that wait. For the supervisor, at each death: without it the waiting threads find out by
/// themselves, within a fraction of a second. `reported` is the pid of the process whose end the
/// system told, so that living ones cost little to tell from the dead; 0: any may be dead.
void recover_objects_of_dead(std::uint32_t reported = 0) noexcept;

/// Removes the names of shared memory whose processes are all dead. For guardians, and for
/// processes that hear of a death: all that had the memory may have been killed. Needs nothing of
/// its creator. Opens every file of /dev/shm.
///
/// @returns how many names of this library's memory stay, because their processes live.
std::size_t remove_abandoned_blocks() noexcept;

/// A number for a type, the same in all processes of a program.
[[nodiscard]] std::uint64_t type_tag_of(const std::type_info& type, std::size_t bytes) noexcept;

/// Base of the handles: what they have in common.
class object_handle {
 public:
  /// A number that no other object has, in any process.
  [[nodiscard]] std::uint64_t id() const { return object().id(); }
  /// What `.name` said, cut to 255 bytes.
  [[nodiscard]] const std::string& name() const { return object().name(); }

 protected:
  object_handle() = default;
  explicit object_handle(std::shared_ptr<region> object) noexcept : object_{std::move(object)} {}
  [[nodiscard]] bool same(const object_handle& other) const noexcept {
    return object_ == other.object_;
  }
  /// The object, wherever it is: for what is known without its memory.
  ///
  /// @throws error{no_state} for a handle that was moved from.
  [[nodiscard]] region& object() const {
    if (object_ == nullptr) [[unlikely]] {
      throw_moved_from();
    }
    return *object_;
  }
  /// The object with its memory, for operations that work only where it is.
  ///
  /// @throws error{no_state} for a handle that was moved from; error{not_on_this_machine}.
  [[nodiscard]] region& get() const {
    region& found = object();
    found.ensure();
    return found;
  }
  /// The object if its memory is mapped: what short operations ask before they are done inline.
  /// Null: `operations` does them, or says why not.
  [[nodiscard]] region* mapped() const noexcept {
    region* const found = object_.get();
    return found != nullptr && found->is_mapped() ? found : nullptr;
  }
  /// @throws error{no_state} for a handle that was moved from.
  template <class Operations>
  [[nodiscard]] const Operations& operations() const {
    return object().template operations<Operations>();
  }
  void save_handle(output_archive& ar) const;
  void load_handle(input_archive& ar, const object_rules& rules, std::uint64_t type_tag = 0);
  [[noreturn]] static void throw_moved_from();

  std::shared_ptr<region> object_;
};

}  // namespace troupe::detail
