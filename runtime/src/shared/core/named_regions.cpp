// SPDX-License-Identifier: BSD-3-Clause

// Regions with a name in the file system, and the names that no process took away.

#include "troupe/error.hpp"

#include "os/failpoint.hpp"
#include "os/file_size.hpp"
#include "os/process_identity.hpp"
#include "os/process_namespaces.hpp"
#include "os/sys.hpp"
#include "shared/core/block_names.hpp"
#include "shared/core/region_memory.hpp"
#include "shared/core/region_registry.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

namespace troupe::detail {
namespace {

/// How long a name is waited for that another process is about to remove. That takes no time, but
/// the process may be stopped, or may not get a processor.
constexpr std::chrono::seconds open_patience{10};

}  // namespace

std::shared_ptr<region> region::create_named(const region_spec& spec) {
  region_registry& registry = region_registry::instance();
  auto made = region_registry::own(std::unique_ptr<region>{new region{spec, new_attachment_id()}});
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
  // It has its name last, when all of it is there, with its first holder in the ledger: a
  // process that opens the name finds no half of it, and one that is killed meanwhile leaves no
  // name without a holder.
  made->memory_.reset(::open(block_folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  if (!made->memory_) {
    sys::fail(errc::resource_exhausted, "cannot create shared memory '" + spec.name + "'", errno);
  }
  int code = TROUPE_FAILPOINT_ERRNO("region.create_named");
  if (code == 0) {
    code = sys::resize(made->memory_.number(), bytes);
  }
  if (code == 0) {
    code = sys::allocate(made->memory_.number(), 0, bytes);
  }
  if (code != 0) {
    sys::fail(errc::resource_exhausted,
              "cannot allocate " + std::to_string(bytes) + " bytes of shared memory", code);
  }
  made->memory_.keep_in_children();
  made->view_ = map_for_children(made->memory_, bytes);
  made->named_ = true;
  made->lay_out(region_named_flag);
  const std::string nameless = "/proc/self/fd/" + std::to_string(made->memory_.number());
  // Under the lock: another thread that opens the name finds this region, or waits for it.
  const mutex_guard lock{registry.mutex};
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
    refuse_object("'" + name + "' is too short");
  }
  std::shared_ptr<region> made;  // destroyed without the registry's lock
  const auto try_to_open = [&] {
    const mutex_guard lock{registry.mutex};
    if (const auto at = registry.objects.find(id); at != registry.objects.end()) {
      if (auto here = at->second.object.lock()) {
        made = std::move(here);
        if (made->kind() != rules.kind) {
          refuse_object("'" + name + "' is none");
        }
        if (made->own_generation_.load(std::memory_order_acquire) != fork_generation()) {
          static_cast<void>(made->claim_slot());  // a forked child, of the region it inherited
        }
        return true;
      }
    }
    // A process that is about to remove the name sees this slot, or was faster. Without the lock
    // neither is certain.
    const block_lock shared{memory, block_lock::mode::shared, std::chrono::milliseconds{0}};
    if (!shared) {
      return false;
    }
    made = region_registry::own(std::unique_ptr<region>{new region{{.rules = &rules}, id}});
    made->memory_ = std::move(memory);
    made->adopt();
    made->named_ = true;
    registry.add(made);
    static_cast<void>(made->claim_slot());
    if (!names(name, made->memory_)) {
      missing(ENOENT);
    }
    return true;
  };
  // Not with the registry's lock, which all objects of this process need.
  const auto end = std::chrono::steady_clock::now() + open_patience;
  while (!try_to_open()) {
    if (std::chrono::steady_clock::now() >= end) {
      missing(EAGAIN);  // the process that holds the name's lock for so long was stopped
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return made;
}

namespace {

/// What a file in the folder of names is.
enum class found_as : std::uint8_t { foreign, in_use, abandoned };

/// Abandoned is memory of this library whose processes are all dead.
found_as judge(const descriptor& memory) noexcept {
  // Plain numbers, at the offsets of the header and of the slots.
  std::array<std::uint64_t, region::payload_offset() / sizeof(std::uint64_t)> words;
  if (::pread(memory.number(), words.data(), sizeof words, 0) !=
      static_cast<ssize_t>(sizeof words)) {
    return found_as::foreign;
  }
  const auto at = [&](std::size_t offset) { return words[offset / sizeof(std::uint64_t)]; };
  if (at(offsetof(region_header, magic)) != region_magic) {
    return found_as::foreign;
  }
  // Not its creator: one that lives may have dropped it long ago, while others had it.
  for (std::size_t slot = 0; slot < region_slots; ++slot) {
    const std::size_t slot_at = region::slots_offset() + slot * sizeof(process_slot);
    const std::uint64_t owner = at(slot_at + offsetof(process_slot, owner));
    if (owner != 0 && (is_elsewhere(owner) ? is_byte_held(memory, slot_at) : !is_gone(owner))) {
      return found_as::in_use;
    }
  }
  return found_as::abandoned;
}

}  // namespace

std::size_t remove_abandoned_blocks() noexcept {
  std::size_t staying = 0;
  DIR* const folder = sys::open_folder(block_folder);
  if (folder == nullptr) {
    return staying;
  }
  while (const dirent* const entry = ::readdir(folder)) {
    const descriptor memory{
        ::openat(::dirfd(folder), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
    const found_as what = memory ? judge(memory) : found_as::foreign;
    staying += what != found_as::foreign ? 1 : 0;
    if (what != found_as::abandoned) {
      continue;
    }
    TROUPE_FAILPOINT("blocks.abandoned");
    const block_lock alone{memory, block_lock::mode::alone};
    // Again, now that no process can open it or remove its name.
    if (alone && judge(memory) == found_as::abandoned && names(entry->d_name, memory)) {
      TROUPE_FAILPOINT("blocks.remove");
      if (::unlinkat(::dirfd(folder), entry->d_name, 0) == 0) {
        --staying;
      }
    }
  }
  ::closedir(folder);
  return staying;
}

}  // namespace troupe::detail
