// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/memory.hpp"

#include "os/failpoint.hpp"
#include "os/file_size.hpp"
#include "os/process_identity.hpp"
#include "os/sys.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>

namespace troupe::detail {
namespace {

constexpr std::size_t huge_page_bytes = std::size_t{2} << 20;

void seal(const descriptor& memory) {
  if (::fcntl(memory.number(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    sys::fail(errc::resource_exhausted, "cannot seal shared memory", errno);
  }
}

descriptor create_unsealed(const char* debug_name, std::size_t bytes) {
  int code = TROUPE_FAILPOINT_ERRNO("memory.create");
  descriptor memory{code != 0 ? -1 : ::memfd_create(debug_name, MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!memory) {
    sys::fail(errc::resource_exhausted, "cannot create shared memory", code != 0 ? code : errno);
  }
  if (code = sys::resize(memory.number(), bytes); code != 0) {
    sys::fail(errc::resource_exhausted,
              "cannot size shared memory to " + std::to_string(bytes) + " bytes", code);
  }
  return memory;
}

void allocate(const descriptor& memory, std::size_t bytes) {
  int code = TROUPE_FAILPOINT_ERRNO("memory.allocate");
  if (code == 0) {
    code = sys::allocate(memory.number(), 0, bytes);
  }
  if (code != 0) {
    sys::fail(errc::resource_exhausted,
              "cannot allocate " + std::to_string(bytes) + " bytes of shared memory", code);
  }
}

}  // namespace

mapping::mapping(std::byte* data, std::size_t bytes) noexcept : data_{data}, bytes_{bytes} {
  watch_forks();
  forks_ = fork_generation();
  ::madvise(data, bytes, MADV_DONTFORK);
}

mapping::~mapping() {
  if (data_ != nullptr && is_here()) {
    ::munmap(data_, bytes_);
  }
}

bool mapping::is_here() const noexcept {
  return forks_ == any_process || forks_ == fork_generation();
}

void mapping::share_with_children() noexcept {
  ::madvise(data_, bytes_, MADV_DOFORK);
  forks_ = any_process;
}

void mapping::keep_from_children() noexcept {
  ::madvise(data_, bytes_, MADV_DONTFORK);
  forks_ = fork_generation();
}

void prepare_pages(void* begin, std::size_t bytes) {
  const auto first = reinterpret_cast<std::uintptr_t>(begin);
  const std::uintptr_t from = (first + huge_page_bytes - 1) & ~(huge_page_bytes - 1);
  const std::uintptr_t to = (first + bytes) & ~(huge_page_bytes - 1);
  if (from < to) {
    ::madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
    ::madvise(reinterpret_cast<void*>(from), to - from, MADV_POPULATE_WRITE);
  }
}

mapping map_memory(const descriptor& memory, std::size_t offset, std::size_t bytes) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.number(),
                    static_cast<off_t>(offset));
  if (at == MAP_FAILED) {
    sys::fail(errc::resource_exhausted,
              "cannot map " + std::to_string(bytes) + " bytes of shared memory", errno);
  }
  return mapping{static_cast<std::byte*>(at), bytes};
}

descriptor create_memory(const char* debug_name, std::size_t bytes) {
  descriptor memory = create_unsealed(debug_name, bytes);
  allocate(memory, bytes);
  seal(memory);
  return memory;
}

std::pair<descriptor, mapping> create_payload_memory(std::size_t bytes) {
  descriptor memory = create_unsealed("troupe-payload", bytes);
  mapping view = map_memory(memory, 0, bytes);
  if (bytes >= huge_page_bytes) {
    // Advice only, where the kernel has huge pages for shared memory: it faults in 2 MiB at once.
    // Populating reports a full memory file system as an error; fallocate below finds it again.
    ::madvise(view.data(), bytes, MADV_HUGEPAGE);
    ::madvise(view.data(), bytes, MADV_POPULATE_WRITE);
  }
  allocate(memory, bytes);
  seal(memory);
  return {std::move(memory), std::move(view)};
}

descriptor read_only_view(const descriptor& memory) {
  return read_only_view(memory.number());
}

mapping map_readable(const descriptor& memory, std::size_t bytes) {
  void* at = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, memory.number(), 0);
  if (at == MAP_FAILED) {
    sys::fail(errc::resource_exhausted,
              "cannot map " + std::to_string(bytes) + " bytes of shared memory", errno);
  }
  return mapping{static_cast<std::byte*>(at), bytes};
}

descriptor read_only_view(int number) {
  const std::string path = "/proc/self/fd/" + std::to_string(number);
  descriptor view{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!view) {
    // Without /proc the reader gets a writable descriptor; it still maps it for reading only.
    view.reset(::fcntl(number, F_DUPFD_CLOEXEC, 3));
  }
  if (!view) {
    sys::fail(errc::resource_exhausted, "cannot open shared memory a second time", errno);
  }
  return view;
}

mapping map_foreign(const descriptor& memory, std::size_t bytes) {
  const int seals = ::fcntl(memory.number(), F_GET_SEALS);
  struct stat info{};
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || ::fstat(memory.number(), &info) != 0 ||
      info.st_size < 0 || static_cast<std::size_t>(info.st_size) < bytes || bytes == 0) {
    throw error{errc::protocol_error, task_ran::maybe,
                "another process handed over memory that is not sealed or shorter than it said"};
  }
  void* at = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, memory.number(), 0);
  if (at == MAP_FAILED) {
    sys::fail(errc::resource_exhausted,
              "cannot map " + std::to_string(bytes) + " bytes of a payload", errno);
  }
  if (bytes >= huge_page_bytes) {
    ::madvise(at, bytes, MADV_HUGEPAGE);
  }
  return mapping{static_cast<std::byte*>(at), bytes};
}

mapping map_ring(const descriptor& memory, std::size_t offset, std::size_t bytes) {
  void* at = ::mmap(nullptr, 2 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) {
    sys::fail(errc::resource_exhausted, "cannot reserve addresses for a ring", errno);
  }
  mapping view{static_cast<std::byte*>(at), 2 * bytes};
  for (int half = 0; half < 2; ++half) {
    if (::mmap(view.data() + static_cast<std::size_t>(half) * bytes, bytes, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_FIXED, memory.number(), static_cast<off_t>(offset)) == MAP_FAILED) {
      sys::fail(errc::resource_exhausted, "cannot map a ring", errno);
    }
  }
  ::madvise(view.data(), view.size(), MADV_DONTFORK);  // of what is mapped there now
  return view;
}

}  // namespace troupe::detail
