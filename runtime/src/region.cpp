// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/region.hpp"

#include "troupe/detail/failpoint.hpp"
#include "troupe/detail/monitor.hpp"
#include "troupe/error.hpp"

#include "block_names.hpp"
#include "deputy.hpp"
#include "far_end.hpp"
#include "free_memory.hpp"
#include "kind_rules.hpp"
#include "process_identity.hpp"
#include "sys.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>
#include <optional>
#include <string_view>
#include <system_error>
#include <typeinfo>
#include <unordered_map>
#include <utility>

namespace troupe {

std::string_view to_string(object_kind kind) noexcept {
  switch (kind) {
    case object_kind::mutex:
      return "mutex";
    case object_kind::recursive_mutex:
      return "recursive_mutex";
    case object_kind::value:
      return "value";
    case object_kind::array:
      return "array";
    case object_kind::shared_memory:
      return "shared_memory";
    case object_kind::semaphore:
      return "semaphore";
    case object_kind::bounded_semaphore:
      return "bounded_semaphore";
    case object_kind::event:
      return "event";
    case object_kind::condition:
      return "condition";
    case object_kind::barrier:
      return "barrier";
    case object_kind::queue:
      return "queue";
    case object_kind::lifo_queue:
      return "lifo_queue";
    case object_kind::priority_queue:
      return "priority_queue";
    case object_kind::none:
      break;
  }
  return "unknown";
}

namespace detail {

/// The objects of this process, by id.
struct region_registry {
  struct entry {
    std::weak_ptr<region> object;
    unsigned count = 0;  ///< regions of the object: two while one is replaced that nobody has
  };
  std::mutex mutex;
  std::unordered_map<std::uint64_t, entry> objects;  // guarded by mutex
  std::vector<mapping> kept;                         // guarded by mutex; locked at their end

  /// Never destroyed: handles may be global variables.
  static region_registry& instance() {
    static region_registry* const one = [] {
      watch_forks();
      auto* made = new region_registry;
      // A child must not inherit the lock from a thread that does not exist there.
      ::pthread_atfork([] { instance().mutex.lock(); }, [] { instance().mutex.unlock(); },
                       [] { instance().mutex.unlock(); });
      return made;
    }();
    return *one;
  }

  /// Under the mutex.
  void add(const std::shared_ptr<region>& object) {
    entry& at = objects[object->id()];
    at.object = object;
    ++at.count;
    object->registered_ = true;
  }

  static void drop(region* object) noexcept;
  static std::vector<std::shared_ptr<region>> all();
  static std::shared_ptr<region> own(std::unique_ptr<region> made) {
    return {made.release(), &region_registry::drop};
  }
};

namespace {

constexpr std::uint64_t magic = 0x316A'626F'6570'7274;  // "trpeobj1" in memory
constexpr std::uint32_t layout_version = 1;
constexpr std::uint32_t named_flag = 1;
constexpr std::uint32_t unguarded_flag = 2;
constexpr auto sweep_interval_ns = std::int64_t{40'000'000};

static_assert(sizeof(region_header) <= region::slots_offset());
static_assert(region::payload_offset() % 4096 == 0);

[[noreturn]] void refuse(const std::string& why) {
  throw error{errc::protocol_error, task_ran::maybe,
              "what arrived is not the shared object it is said to be: " + why};
}

std::string cut_name(std::string name) {
  name.resize(std::min(name.size(), sizeof(region_header::name) - 1));
  return name.substr(0, name.find('\0'));
}

mapping map_for_children(const descriptor& memory, std::size_t bytes) {
  mapping view = map_memory(memory, 0, bytes);
  // A forked child goes on with the objects it finds in its variables.
  ::madvise(view.data(), view.size(), MADV_DOFORK);
  return view;
}

std::size_t total_for(std::size_t payload_bytes) {
  constexpr auto most =
      static_cast<std::size_t>(std::numeric_limits<off_t>::max()) - region::payload_offset();
  if (payload_bytes > most) {
    throw error{errc::resource_exhausted, task_ran::no,
                "a shared object of " + std::to_string(payload_bytes) +
                    " bytes is more than the system can have"};
  }
  // The kernel would not say no: it would kill somebody for it, half-way.
  constexpr std::size_t looks_large = std::size_t{64} << 20;
  if (payload_bytes >= looks_large) {
    if (const std::uint64_t free = free_memory_bytes(); payload_bytes > free) {
      throw error{errc::resource_exhausted, task_ran::no,
                  "a shared object of " + std::to_string(payload_bytes) +
                      " bytes does not fit: " + std::to_string(free) + " bytes of memory are free"};
    }
  }
  return region::payload_offset() + payload_bytes;
}

bool ledger_is_empty(const process_slot& slot) noexcept {
  const auto is_zero = [](const shared_word& word) { return word.load() == 0; };
  return std::all_of(slot.counters.begin(), slot.counters.end(), is_zero) &&
         std::all_of(slot.waiting.begin(), slot.waiting.end(), is_zero);
}

descriptor duplicate(int number) {
  const int code = TROUPE_FAILPOINT_ERRNO("region.import");
  descriptor copy{code != 0 ? -1 : ::fcntl(number, F_DUPFD_CLOEXEC, 3)};
  if (!copy) {
    sys::fail(errc::resource_exhausted, "cannot keep the descriptor of a shared object",
              code != 0 ? code : errno);
  }
  return copy;
}

}  // namespace

region::region(region_spec spec, std::uint64_t id) : cargo{id}, spec_{std::move(spec)} {}

region::~region() = default;

void region_registry::drop(region* object) noexcept {
  if (object->registered_) {
    region_registry& all = instance();
    const std::lock_guard lock{all.mutex};
    const auto at = all.objects.find(object->id());
    if (at != all.objects.end() && --at->second.count == 0) {
      object->free_slot();
      all.objects.erase(at);
    }
  }
  if (object->begin() != nullptr && is_thread_of_this_process(object->lock().owner.load())) {
    // A thread of this process still has the lock, and the C library's list of its robust locks
    // leads through this memory: it stays mapped, and the lock is found dead when the process ends.
    region_registry& all = instance();
    const std::lock_guard lock{all.mutex};
    all.kept.push_back(std::move(object->view_));
  }
  delete object;
}

std::vector<std::shared_ptr<region>> region_registry::all() {
  region_registry& registry = instance();
  std::vector<std::shared_ptr<region>> found;
  const std::lock_guard lock{registry.mutex};
  found.reserve(registry.objects.size());
  for (const auto& [id, entry] : registry.objects) {
    if (auto object = entry.object.lock()) {
      found.push_back(std::move(object));
    }
  }
  return found;
}

void region::lay_out(std::uint32_t flags) {
  auto* const header = new (view_.data()) region_header{};
  header->version = layout_version;
  header->kind = kind();
  header->total_bytes = view_.size();
  header->id = id();
  header->type_tag = spec_.type_tag;
  header->payload_bytes = spec_.payload_bytes;
  header->slots_offset = slots_offset();
  header->slot_count = region_slots;
  header->payload_offset = payload_offset();
  header->flags = flags | (spec_.unguarded ? unguarded_flag : 0);
  header->creator = own_pid();
  spec_.name.copy(header->name.data(), header->name.size() - 1);
  init_lock(header->lock);
  begin_.store(view_.data(), std::memory_order_release);
  if (spec_.init != nullptr) {
    spec_.init(*this);
  }
  // Last: who opens a name may come at any time.
  std::atomic_ref<std::uint64_t>{header->magic}.store(magic, std::memory_order_release);
}

bool region::make_unless_far() {
  if (far_ != nullptr) {
    return false;
  }
  make();
  return true;
}

void region::make() {
  if (far_ != nullptr) {
    throw error{errc::not_on_this_machine, task_ran::no,
                "troupe: this " + std::string{to_string(kind())} +
                    " is on another machine, where its memory is: references to it, and what "
                    "works on several objects at once, need all of them here. Use lock() and the "
                    "guard, or objects of one machine"};
  }
  const std::lock_guard making{making_};
  if (begin() != nullptr) {
    return;
  }
  region_registry& registry = region_registry::instance();
  spec_.name = cut_name(std::move(spec_.name));
  const std::string kind_name = "troupe-" + std::string{to_string(kind())};
  const std::size_t bytes = total_for(spec_.payload_bytes);
  memory_ = create_memory(kind_name.c_str(), bytes);
  view_ = map_for_children(memory_, bytes);
  lay_out(0);
  const std::lock_guard lock{registry.mutex};
  registry.add(shared_from_this());
  static_cast<void>(claim_slot());
}

std::shared_ptr<region> region::create_default(const region_spec& spec) {
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private
  auto made = region_registry::own(std::unique_ptr<region>{new region{spec, new_cargo_id()}});
  if (!cargo_is_unloading()) {
    made->ensure();
  }
  return made;
}

std::shared_ptr<region> region::create(const region_spec& spec) {
  auto made = region_registry::own(std::unique_ptr<region>{new region{spec, new_cargo_id()}});
  made->ensure();
  return made;
}

void region::adopt() {
  struct stat info{};
  if (::fstat(memory_.number(), &info) != 0 || info.st_size < 0) {
    refuse("its descriptor is no memory");
  }
  const auto bytes = static_cast<std::size_t>(info.st_size);
  if (bytes < payload_offset()) {
    refuse("it has " + std::to_string(bytes) + " bytes, which is too short");
  }
  const int seals = ::fcntl(memory_.number(), F_GET_SEALS);
  view_ = map_for_children(memory_, bytes);
  const auto& found = *reinterpret_cast<const region_header*>(view_.data());
  if (std::atomic_ref<const std::uint64_t>{found.magic}.load(std::memory_order_acquire) != magic) {
    refuse("it does not begin as one");
  }
  named_ = (found.flags & named_flag) != 0;
  if ((seals < 0 || (seals & F_SEAL_SHRINK) == 0) &&
      !(named_ && kind() == object_kind::shared_memory)) {
    refuse("its memory is not sealed against shrinking");
  }
  if (found.version != layout_version || found.slots_offset != slots_offset() ||
      found.slot_count != region_slots || found.payload_offset != payload_offset()) {
    refuse("it was made by another version of the library");
  }
  if (found.kind != kind()) {
    refuse("it is a " + std::string{to_string(found.kind)} + ", not a " +
           std::string{to_string(kind())});
  }
  // Read once: another process could change it any time.
  const std::uint64_t payload =
      std::atomic_ref<const std::uint64_t>{found.payload_bytes}.load(std::memory_order_relaxed);
  if (found.total_bytes != bytes || payload > bytes - payload_offset() ||
      payload < spec_.rules->min_payload_bytes) {
    refuse("its size is wrong");
  }
  if (found.type_tag != spec_.type_tag) {
    refuse("its elements are of another type");
  }
  spec_.payload_bytes = static_cast<std::size_t>(payload);
  spec_.name.assign(found.name.data(), ::strnlen(found.name.data(), found.name.size()));
  begin_.store(view_.data(), std::memory_order_release);
}

std::shared_ptr<region> region::import(const std::shared_ptr<const cargo>& from,
                                       const object_rules& rules, std::uint64_t type_tag) {
  const auto check = [&](std::shared_ptr<region> here) {
    if (here->kind() != rules.kind) {
      refuse("it is a " + std::string{to_string(here->kind())} + ", not a " +
             std::string{to_string(rules.kind)});
    }
    if (here->type_tag() != type_tag) {
      refuse("its elements are of another type");
    }
    // Who imported it first may not have known as much.
    if (here->payload_bytes() < rules.min_payload_bytes) {
      refuse("its size is wrong");
    }
    return here;
  };
  if (auto here = std::dynamic_pointer_cast<const region>(from)) {
    auto same = std::const_pointer_cast<region>(here);
    if (same->is_elsewhere()) {
      return check(std::move(same));
    }
    static_cast<void>(same->own_slot());  // in a forked child, of the region that it inherited
    return check(std::move(same));
  }
  region_registry& registry = region_registry::instance();
  std::shared_ptr<region> made;  // after the lock: its deleter takes it
  const std::lock_guard lock{registry.mutex};
  if (const auto at = registry.objects.find(from->id()); at != registry.objects.end()) {
    if (auto here = at->second.object.lock()) {
      made = here;
      if (here->own_generation_.load(std::memory_order_acquire) != fork_generation()) {
        static_cast<void>(here->claim_slot());
      }
      return check(std::move(here));
    }
  }
  made = region_registry::own(
      std::unique_ptr<region>{new region{{.rules = &rules, .type_tag = type_tag}, from->id()}});
  made->memory_ = duplicate(from->number());
  made->adopt();
  if (made->header().id != made->id()) {
    refuse("its id is another one");
  }
  registry.add(made);
  static_cast<void>(made->claim_slot());
  return made;
}

std::shared_ptr<region> region::import_any(const std::shared_ptr<const cargo>& from) {
  if (auto here = std::dynamic_pointer_cast<const region>(from)) {
    return std::const_pointer_cast<region>(here);
  }
  // As it is written in the header, and checked by import.
  struct beginning {
    std::uint64_t magic;
    std::uint32_t version;
    object_kind kind;
    std::uint64_t total_bytes, id, type_tag;
  } found{};
  static_assert(offsetof(region_header, kind) == offsetof(beginning, kind) &&
                offsetof(region_header, type_tag) == offsetof(beginning, type_tag));
  if (::pread(from->number(), &found, sizeof found, 0) != static_cast<ssize_t>(sizeof found) ||
      found.magic != magic || found.id != from->id()) {
    return nullptr;  // a view of one has another id, too
  }
  const object_rules* const rules = rules_of_kind(found.kind);
  return rules == nullptr ? nullptr : import(from, *rules, found.type_tag);
}

std::shared_ptr<region> region::lent(region_spec spec, std::uint64_t id,
                                     std::unique_ptr<far_end> far) {
  auto made = region_registry::own(std::unique_ptr<region>{new region{std::move(spec), id}});
  made->far_ = std::move(far);
  return made;
}

std::shared_ptr<region> region::create_named(const region_spec& spec) {
  region_registry& registry = region_registry::instance();
  auto made = region_registry::own(std::unique_ptr<region>{new region{spec, new_cargo_id()}});
  const std::size_t bytes = total_for(spec.payload_bytes);
  const std::string path = block_folder + path_of(spec.name);
  const auto exists = [&] {
    throw std::system_error{EEXIST, std::generic_category(),
                            "shared memory '" + spec.name + "' exists"};
  };
  // Before there is much to allocate.
  if (::access(path.c_str(), F_OK) == 0) {
    exists();
  }
  // It has its name last, when all of it is there, with its first holder in the ledger: who opens
  // the name finds no half of it, and who is killed meanwhile leaves none for which nobody answers.
  made->memory_.reset(::open(block_folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  if (!made->memory_) {
    sys::fail(errc::resource_exhausted, "cannot create shared memory '" + spec.name + "'", errno);
  }
  int code = TROUPE_FAILPOINT_ERRNO("region.create_named");
  if (code == 0 && ::ftruncate(made->memory_.number(), static_cast<off_t>(bytes)) != 0) {
    code = errno;
  }
  while (code == 0 || code == EINTR) {
    code = ::posix_fallocate(made->memory_.number(), 0, static_cast<off_t>(bytes));
    if (code != EINTR) {
      break;
    }
  }
  if (code != 0) {
    sys::fail(errc::resource_exhausted,
              "cannot allocate " + std::to_string(bytes) + " bytes of shared memory", code);
  }
  made->view_ = map_for_children(made->memory_, bytes);
  made->named_ = true;
  made->lay_out(named_flag);
  const std::string nameless = "/proc/self/fd/" + std::to_string(made->memory_.number());
  // Under the lock: another thread that opens the name finds this region, or waits for it.
  const std::lock_guard lock{registry.mutex};
  static_cast<void>(made->claim_slot());
  if (::linkat(AT_FDCWD, nameless.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    code = errno;
    if (code == EEXIST) {
      exists();
    }
    sys::fail(errc::resource_exhausted, "cannot name shared memory '" + spec.name + "'", code);
  }
  registry.add(made);
  return made;
}

std::shared_ptr<region> region::open_named(const std::string& name, const object_rules& rules) {
  region_registry& registry = region_registry::instance();
  const auto missing = [&](int code) {
    throw std::system_error{code, std::generic_category(),
                            "shared memory '" + name + "' cannot be opened"};
  };
  descriptor memory{::shm_open(path_of(name).c_str(), O_RDWR | O_CLOEXEC, 0)};
  if (!memory) {
    missing(errno);
  }
  std::uint64_t id = 0;
  struct stat info{};
  if (::fstat(memory.number(), &info) != 0) {
    missing(errno);
  }
  if (info.st_uid != ::geteuid()) {
    missing(EACCES);  // they could shrink it under us, and we would die of it
  }
  if (info.st_size < static_cast<off_t>(payload_offset()) ||
      ::pread(memory.number(), &id, sizeof id, offsetof(region_header, id)) !=
          static_cast<ssize_t>(sizeof id)) {
    refuse("'" + name + "' is too short");
  }
  std::shared_ptr<region> made;
  const std::lock_guard lock{registry.mutex};
  if (const auto at = registry.objects.find(id); at != registry.objects.end()) {
    if (auto here = at->second.object.lock()) {
      made = std::move(here);
      if (made->kind() != rules.kind) {
        refuse("'" + name + "' is none");
      }
      if (made->own_generation_.load(std::memory_order_acquire) != fork_generation()) {
        static_cast<void>(made->claim_slot());  // a forked child, of the region it inherited
      }
      return made;
    }
  }
  made = region_registry::own(std::unique_ptr<region>{new region{{.rules = &rules}, id}});
  made->memory_ = std::move(memory);
  made->adopt();
  made->named_ = true;
  registry.add(made);
  {
    // Who is about to remove the name of abandoned memory sees us here, or was faster.
    const block_lock shared{made->memory_, block_lock::mode::shared};
    static_cast<void>(made->claim_slot());
    if (!names(name, made->memory_)) {
      missing(ENOENT);
    }
  }
  if (made->header().closed.load() != 0) {
    missing(ENOENT);  // its last owner is about to remove the name
  }
  return made;
}

process_slot* region::slot_of(std::uint64_t identity) noexcept {
  for (process_slot& slot : slots()) {
    if (slot.owner.load() == identity) {
      return &slot;
    }
  }
  return nullptr;
}

process_slot* region::claim_slot_for(std::uint64_t identity) noexcept {
  process_slot* mine = slot_of(identity);
  const auto all = slots();
  for (auto slot = all.begin(); mine == nullptr && slot != all.end(); ++slot) {
    std::uint64_t nobody = 0;
    if (slot->owner.compare_exchange_strong(nobody, identity)) {
      mine = &*slot;
    }
  }
  if (mine != nullptr) {
    mine->mapped.store(1);
  }
  return mine;
}

bool region::leave_slot_of(std::uint64_t identity) noexcept {
  process_slot* const slot = slot_of(identity);
  if (slot == nullptr) {
    return true;
  }
  slot->mapped.store(0);
  return ledger_is_empty(*slot) && slot->owner.compare_exchange_strong(identity, 0);
}

void region::end_slot_of(std::uint64_t identity) {
  if (process_slot* const slot = slot_of(identity)) {
    recover_slot(*slot, identity);
  }
}

process_slot* region::claim_slot() noexcept {
  process_slot* const mine = claim_slot_for(own_identity());
  if (mine != nullptr) {
    own_.store(mine);
    own_generation_.store(fork_generation());
  }
  return mine;
}

process_slot& region::own_slot() {
  if (this_deputy.object == this) [[unlikely]] {
    return *this_deputy.slot;
  }
  if (own_generation_.load(std::memory_order_acquire) == fork_generation()) [[likely]] {
    return *own_.load(std::memory_order_relaxed);
  }
  for (int attempt = 0; attempt < 2; ++attempt) {
    {
      const std::lock_guard lock{region_registry::instance().mutex};
      if (process_slot* const mine = claim_slot()) {
        return *mine;
      }
    }
    recover_dead();
  }
  throw error{errc::resource_exhausted, task_ran::no,
              std::to_string(region_slots) + " processes have this " +
                  std::string{to_string(kind())} + " already, which is the most there can be"};
}

void region::free_slot() noexcept {
  process_slot* const mine = own_.load();
  if (mine == nullptr || own_generation_.load() != fork_generation()) {
    return;  // none, or that of the process this one was forked from
  }
  mine->mapped.store(0);
  if (named_) {
    // The last one removes the name. Who opens it meanwhile sees `closed`, or is seen here.
    const auto holds = [](const process_slot& slot) {
      const std::uint64_t owner = slot.owner.load();
      return slot.mapped.load() != 0 && owner != 0 && !is_gone(owner);
    };
    header().closed.store(1);
    TROUPE_FAILPOINT("blocks.let_go");
    const auto all = slots();
    if (std::any_of(all.begin(), all.end(), holds)) {
      header().closed.store(0);
    } else {
      remove_block_name(spec_.name, memory_);
    }
  }
  if (ledger_is_empty(*mine)) {
    std::uint64_t me = own_identity();
    mine->owner.compare_exchange_strong(me, 0);
  }
}

void region::recover_slot(process_slot& slot, std::uint64_t dead) {
  if (rules().recover != nullptr) {
    transaction tx{*this, &slot};
    if (slot.owner.load() != dead) {
      return;  // somebody else was faster
    }
    for (std::size_t i = 0; i < wait_channels; ++i) {
      if (const std::uint64_t asleep = tx.get(slot.waiting[i]); asleep != 0) {
        shared_word& waiters = header().channels[i].waiters;
        tx.set(waiters, tx.get(waiters) - std::min(asleep, tx.get(waiters)));
        tx.set(slot.waiting[i], 0);
      }
      tx.wake(i);
    }
    rules().recover(tx, slot);
    tx.commit();
    slot.mapped.store(0);
    slot.owner.compare_exchange_strong(dead, 0);
  } else {
    for (shared_word& waiting : slot.waiting) {
      waiting.store(0);
    }
    slot.mapped.store(0);
    slot.owner.compare_exchange_strong(dead, 0);
  }
}

std::size_t region::recover_dead() {
  const std::uint64_t me = own_identity();
  std::size_t found = 0;
  for (process_slot& slot : slots()) {
    const std::uint64_t owner = slot.owner.load();
    if (owner != 0 && owner != me && is_gone(owner)) {
      recover_slot(slot, owner);
      ++found;
    }
  }
  return found;
}

void region::sweep() {
  shared_word& last = header().last_sweep;
  std::uint64_t before = last.load();
  const auto now = static_cast<std::uint64_t>(sys::monotonic_ns());
  if (now - before < static_cast<std::uint64_t>(sweep_interval_ns) ||
      !last.compare_exchange_strong(before, now)) {
    return;
  }
  recover_dead();
}

bool region::is_unguarded() const noexcept {
  return (header().flags & unguarded_flag) != 0;
}

object_info region::info() {
  object_info found;
  found.kind = kind();
  found.name = name();
  found.id = id();
  found.bytes = total_bytes();
  found.creator_pid = header().creator;
  static_cast<void>(own_slot());
  const std::uint64_t me = own_identity();
  for (const process_slot& slot : slots()) {
    const std::uint64_t owner = slot.owner.load();
    if (owner == 0 || (owner != me && is_gone(owner))) {
      continue;
    }
    found.holders += slot.mapped.load() != 0 ? 1 : 0;
    for (const shared_word& waiting : slot.waiting) {
      found.waiters += static_cast<std::uint32_t>(waiting.load());
    }
  }
  return found;
}

std::vector<object_info> live_objects() {
  std::vector<object_info> found;
  for (const auto& object : region_registry::all()) {
    found.push_back(object->info());
  }
  return found;
}

void recover_objects_of_dead() noexcept {
  try {
    for (const auto& object : region_registry::all()) {
      object->recover_dead();
    }
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // Out of memory, or a damaged object: waiting threads look for the dead by themselves.
  }
}

std::vector<int> object_descriptors() {
  std::vector<int> found;
  for (const auto& object : region_registry::all()) {
    found.push_back(object->number());
  }
  return found;
}

namespace {

/// Does nobody have this memory, of all who ever did? Not if it is none of ours.
bool is_abandoned(const descriptor& memory) noexcept {
  // Plain numbers, at the offsets of the header and of the slots.
  std::array<std::uint64_t, region::payload_offset() / sizeof(std::uint64_t)> words;
  if (::pread(memory.number(), words.data(), sizeof words, 0) !=
      static_cast<ssize_t>(sizeof words)) {
    return false;
  }
  const auto at = [&](std::size_t offset) { return words[offset / sizeof(std::uint64_t)]; };
  if (at(offsetof(region_header, magic)) != magic) {
    return false;
  }
  // Not its creator: one that lives may have dropped it long ago, while others had it.
  for (std::size_t slot = 0; slot < region_slots; ++slot) {
    const std::uint64_t owner =
        at(region::slots_offset() + slot * sizeof(process_slot) + offsetof(process_slot, owner));
    if (owner != 0 && !is_gone(owner)) {
      return false;
    }
  }
  return true;
}

}  // namespace

void remove_abandoned_blocks() noexcept {
  DIR* const folder = ::opendir(block_folder);
  if (folder == nullptr) {
    return;
  }
  while (const dirent* const entry = ::readdir(folder)) {
    const descriptor memory{
        ::openat(::dirfd(folder), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
    if (!memory || !is_abandoned(memory)) {
      continue;
    }
    TROUPE_FAILPOINT("blocks.abandoned");
    const block_lock alone{memory, block_lock::mode::alone};
    // Again, now that nobody can open it or remove its name.
    if (alone && is_abandoned(memory) && names(entry->d_name, memory)) {
      TROUPE_FAILPOINT("blocks.remove");
      ::unlinkat(::dirfd(folder), entry->d_name, 0);
    }
  }
  ::closedir(folder);
}

std::uint64_t type_tag_of(const std::type_info& type, std::size_t bytes) noexcept {
  std::uint64_t hash = 0xCBF2'9CE4'8422'2325 ^ bytes;  // FNV-1a
  for (const char c : std::string_view{type.name()}) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100'0000'01B3;
  }
  return hash;
}

const object_rules* rules_of_kind(object_kind kind) noexcept {
  static constexpr object_rules some_value{.kind = object_kind::value, .min_payload_bytes = 1};
  static constexpr object_rules some_array{.kind = object_kind::array};
  static constexpr object_rules some_memory{.kind = object_kind::shared_memory};
  switch (kind) {
    case object_kind::mutex:
      return &mutex_rules;
    case object_kind::recursive_mutex:
      return &recursive_rules;
    case object_kind::value:
      return &some_value;
    case object_kind::array:
      return &some_array;
    case object_kind::shared_memory:
      return &some_memory;
    case object_kind::semaphore:
      return &semaphore_rules;
    case object_kind::bounded_semaphore:
      return &bounded_rules;
    case object_kind::event:
      return &event_rules;
    case object_kind::condition:
      return &condition_rules;
    case object_kind::barrier:
      return &barrier_rules;
    case object_kind::queue:
    case object_kind::lifo_queue:
    case object_kind::priority_queue:
      return &queue_rules(kind);
    case object_kind::none:
      break;
  }
  return nullptr;
}

void object_handle::save_handle(output_archive& ar) const {
  static_cast<void>(elsewhere());
  save_cargo(ar, object_);
}

void object_handle::load_handle(input_archive& ar, const object_rules& rules,
                                std::uint64_t type_tag) {
  object_ = region::import(load_cargo(ar), rules, type_tag);
}

void object_handle::throw_moved_from() {
  throw error{errc::no_state, task_ran::no,
              "troupe: this handle of a shared object was moved from: it names none any more"};
}

}  // namespace detail
}  // namespace troupe
