// SPDX-License-Identifier: BSD-3-Clause
#include "shared/queue/queue_storage.hpp"

#include "troupe/error.hpp"

#include "os/descriptor_attachment.hpp"
#include "os/failpoint.hpp"
#include "os/file_size.hpp"
#include "os/sys.hpp"
#include "shared/core/free_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <utility>

namespace troupe::detail {

queue_storage::queue_storage() {
  const int code = TROUPE_FAILPOINT_ERRNO("queue.create");
  descriptor made{code != 0 ? -1 : ::memfd_create("troupe-queue", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!made || ::fcntl(made.number(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
    sys::fail(errc::resource_exhausted, "no memory for a queue's items can be made",
              code != 0 ? code : errno);
  }
  made.keep_in_children();
  memory_ = std::make_shared<descriptor_attachment>(new_attachment_id(), std::move(made));
}

queue_storage::queue_storage(std::shared_ptr<const attachment> from) : memory_{std::move(from)} {
  const int seals = ::fcntl(memory_->number(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    throw error{errc::protocol_error, task_ran::maybe,
                "what arrived is not the memory of a queue that it is said to be"};
  }
  keep_in_children(*memory_);
}

void queue_storage::provide(std::uint64_t offset, std::uint64_t bytes) {
  // The kernel would not say no to that much: it would kill a process for it, half-way.
  constexpr std::uint64_t looks_large = std::uint64_t{64} << 20;
  int code = TROUPE_FAILPOINT_ERRNO("queue.provide");
  if (code == 0 && bytes >= looks_large && bytes > free_memory_bytes()) {
    code = ENOMEM;
  }
  if (code == 0) {
    code = sys::allocate(memory_->number(), offset, bytes);
  }
  if (code != 0) {
    sys::fail(errc::resource_exhausted,
              "no " + std::to_string(bytes) + " bytes of shared memory for a queue's items", code);
  }
}

void queue_storage::release(std::uint64_t offset, std::uint64_t bytes) noexcept {
  if (bytes != 0) {
    // Failing only keeps memory that no item needs.
    ::fallocate(memory_->number(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                static_cast<off_t>(offset), static_cast<off_t>(bytes));
  }
}

void queue_storage::map_more(std::uint64_t offset, std::uint64_t bytes) {
  struct stat info{};
  if (::fstat(memory_->number(), &info) != 0 || info.st_size <= 0 ||
      offset > static_cast<std::uint64_t>(info.st_size) ||
      bytes > static_cast<std::uint64_t>(info.st_size) - offset) {
    throw error{errc::protocol_error, task_ran::maybe,
                "a queue says it has items where it has no memory: it was damaged"};
  }
  const auto all = static_cast<std::size_t>(info.st_size);
  const int code = TROUPE_FAILPOINT_ERRNO("queue.map");
  void* const mapped =
      code != 0 ? MAP_FAILED
                : ::mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_SHARED, memory_->number(), 0);
  if (mapped == MAP_FAILED) {
    sys::fail(errc::resource_exhausted, "cannot map a queue's items", code != 0 ? code : errno);
  }
  view_ = mapping{static_cast<std::byte*>(mapped), all};
  view_.share_with_children();
}

}  // namespace troupe::detail
