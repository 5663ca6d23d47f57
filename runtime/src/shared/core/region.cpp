// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/region.hpp"

#include "troupe/error.hpp"

#include "os/failpoint.hpp"
#include "os/process_identity.hpp"
#include "os/sys.hpp"
#include "shared/core/free_memory.hpp"
#include "shared/core/kind_rules.hpp"
#include "shared/core/region_memory.hpp"
#include "shared/core/region_registry.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

namespace troupe::detail {
namespace {

constexpr std::uint32_t layout_version = 3;

static_assert(sizeof(region_header) <= region::slots_offset());
static_assert(region::payload_offset() % 4096 == 0);

std::string cut_name(std::string name) {
  name.resize(std::min(name.size(), sizeof(region_header::name) - 1));
  return name.substr(0, name.find('\0'));
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

void refuse_object(const std::string& why) {
  throw error{errc::protocol_error, task_ran::maybe,
              "what arrived is not the shared object it is said to be: " + why};
}

mapping map_for_children(const descriptor& memory, std::size_t bytes) {
  mapping view = map_memory(memory, 0, bytes);
  // A forked child goes on with the objects it finds in its variables.
  view.share_with_children();
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
  // The kernel would not say no: it would kill a process for it, half-way.
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

region::region(region_spec spec, std::uint64_t id) : attachment{id}, spec_{std::move(spec)} {
  spec_.name = cut_name(std::move(spec_.name));
  if (spec_.rules->local != nullptr) {
    operations_ = &spec_.rules->local();
  }
}

region::~region() = default;

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
  header->flags = flags | (spec_.unguarded ? region_unguarded_flag : 0);
  header->creator = own_pid();
  spec_.name.copy(header->name.data(), header->name.size() - 1);
  init_lock(header->lock);
  init_lock(header->second_lock);
  begin_.store(view_.data(), std::memory_order_release);
  if (spec_.init != nullptr) {
    spec_.init(*this);
  }
  // Last: a process that opens the name may come at any time.
  std::atomic_ref<std::uint64_t>{header->magic}.store(region_magic, std::memory_order_release);
}

void region::make() {
  if (remote_ != nullptr) {
    throw error{errc::not_on_this_machine, task_ran::no,
                "troupe: this " + std::string{to_string(kind())} +
                    " is on another machine, where its memory is: references to it, and what "
                    "works on several objects at once, need all of them here. Use lock() and the "
                    "guard, or objects of one machine"};
  }
  const mutex_guard making{making_};
  if (begin() != nullptr) {
    return;
  }
  region_registry& registry = region_registry::instance();
  const std::string kind_name = "troupe-" + std::string{to_string(kind())};
  const std::size_t bytes = total_for(spec_.payload_bytes);
  memory_ = create_memory(kind_name.c_str(), bytes);
  memory_.keep_in_children();
  view_ = map_for_children(memory_, bytes);
  lay_out(0);
  const mutex_guard lock{registry.mutex};
  registry.add(shared_from_this());
  static_cast<void>(claim_slot());
}

std::shared_ptr<region> region::create_default(const region_spec& spec) {
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private
  auto made = region_registry::own(std::unique_ptr<region>{new region{spec, new_attachment_id()}});
  if (!attachments_are_at_hand()) {
    made->ensure();
  }
  return made;
}

std::shared_ptr<region> region::create(const region_spec& spec) {
  auto made = region_registry::own(std::unique_ptr<region>{new region{spec, new_attachment_id()}});
  made->ensure();
  return made;
}

void region::adopt() {
  struct stat info{};
  if (::fstat(memory_.number(), &info) != 0 || info.st_size < 0) {
    refuse_object("its descriptor is no memory");
  }
  const auto bytes = static_cast<std::size_t>(info.st_size);
  if (bytes < payload_offset()) {
    refuse_object("it has " + std::to_string(bytes) + " bytes, which is too short");
  }
  const int seals = ::fcntl(memory_.number(), F_GET_SEALS);
  memory_.keep_in_children();
  view_ = map_for_children(memory_, bytes);
  const auto& found = *reinterpret_cast<const region_header*>(view_.data());
  if (std::atomic_ref<const std::uint64_t>{found.magic}.load(std::memory_order_acquire) !=
      region_magic) {
    refuse_object("it does not begin as one");
  }
  named_ = (found.flags & region_named_flag) != 0;
  if ((seals < 0 || (seals & F_SEAL_SHRINK) == 0) &&
      !(named_ && kind() == object_kind::shared_memory)) {
    refuse_object("its memory is not sealed against shrinking");
  }
  if (found.version != layout_version || found.slots_offset != slots_offset() ||
      found.slot_count != region_slots || found.payload_offset != payload_offset()) {
    refuse_object("it was made by another version of the library");
  }
  if (found.kind != kind()) {
    refuse_object("it is a " + std::string{to_string(found.kind)} + ", not a " +
                  std::string{to_string(kind())});
  }
  // Read once: another process could change it any time.
  const std::uint64_t payload =
      std::atomic_ref<const std::uint64_t>{found.payload_bytes}.load(std::memory_order_relaxed);
  if (found.total_bytes != bytes || payload > bytes - payload_offset() ||
      payload < spec_.rules->min_payload_bytes || payload > spec_.rules->max_payload_bytes) {
    refuse_object("its size is wrong");
  }
  if (found.type_tag != spec_.type_tag) {
    refuse_object("its elements are of another type");
  }
  spec_.payload_bytes = static_cast<std::size_t>(payload);
  spec_.name.assign(found.name.data(), ::strnlen(found.name.data(), found.name.size()));
  begin_.store(view_.data(), std::memory_order_release);
}

std::shared_ptr<region> region::import(const std::shared_ptr<const attachment>& from,
                                       const object_rules& rules, std::uint64_t type_tag) {
  const auto check = [&](std::shared_ptr<region> here) {
    if (here->kind() != rules.kind) {
      refuse_object("it is a " + std::string{to_string(here->kind())} + ", not a " +
                    std::string{to_string(rules.kind)});
    }
    if (here->type_tag() != type_tag) {
      refuse_object("its elements are of another type");
    }
    // The first import in this process may not have known as much.
    if (here->payload_bytes() < rules.min_payload_bytes ||
        here->payload_bytes() > rules.max_payload_bytes) {
      refuse_object("its size is wrong");
    }
    return here;
  };
  if (auto here = std::dynamic_pointer_cast<const region>(from)) {
    auto same = std::const_pointer_cast<region>(here);
    same->ensure_if_local();
    if (!same->is_imported()) {
      static_cast<void>(same->own_slot());  // in a forked child, of the region that it inherited
    }
    return check(std::move(same));
  }
  region_registry& registry = region_registry::instance();
  std::shared_ptr<region> made;  // after the lock: its deleter takes it
  const mutex_guard lock{registry.mutex};
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
    refuse_object("its id is another one");
  }
  registry.add(made);
  static_cast<void>(made->claim_slot());
  return made;
}

std::shared_ptr<region> region::import_any(const std::shared_ptr<const attachment>& from) {
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
      found.magic != region_magic || found.id != from->id()) {
    return nullptr;  // a view of one has another id, too
  }
  const object_rules* const rules = rules_of_kind(found.kind);
  return rules == nullptr ? nullptr : import(from, *rules, found.type_tag);
}

std::shared_ptr<region> region::imported(region_spec spec, std::uint64_t id,
                                         std::unique_ptr<remote_object> remote,
                                         const object_operations* operations) {
  auto made = region_registry::own(std::unique_ptr<region>{new region{std::move(spec), id}});
  made->remote_ = std::move(remote);
  made->operations_ = operations;
  return made;
}

bool region::is_unguarded() const noexcept {
  return (header().flags & region_unguarded_flag) != 0;
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
  for (const process_slot& slot : used_slots()) {
    const std::uint64_t owner = slot.owner.load();
    if (owner == 0 || (owner != me && is_dead(*this, slot, owner))) {
      continue;
    }
    found.holders += slot.mapped.load() != 0 ? 1 : 0;
    for (const shared_word& waiting : slot.waiting) {
      found.waiters += static_cast<std::uint32_t>(waiting.load());
    }
  }
  return found;
}

}  // namespace troupe::detail
