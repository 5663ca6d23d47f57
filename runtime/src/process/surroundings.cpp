// SPDX-License-Identifier: BSD-3-Clause
#include "process/surroundings.hpp"

#include "os/sys.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <thread>

extern char** environ;

namespace troupe::detail {
namespace {

/// Copies memory of this process that another thread may free meanwhile: the kernel reads it, and
/// answers false where there is none. Other threads write to it without a lock, so only what is
/// read twice alike is believed.
bool copy_own_memory(const void* from, void* to, std::size_t bytes) noexcept {
  iovec local{to, bytes};
  iovec remote{const_cast<void*>(from), bytes};
  const long copied = ::syscall(SYS_process_vm_readv, ::getpid(), &local, 1, &remote, 1, 0);
  if (copied < 0 && (errno == ENOSYS || errno == EPERM)) {
    std::memcpy(to, from, bytes);  // a sandbox without this call
    return true;
  }
  return copied == static_cast<long>(bytes);
}

/// Bytes from `at` to the end of its page: memory of this process is there or not a page at a time.
std::size_t left_in_page(const void* at) noexcept {
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  return page - reinterpret_cast<std::uintptr_t>(at) % page;
}

bool append_string(const char* from, std::string& to) {
  constexpr std::size_t most = 256;
  std::array<char, most> part{};
  for (;;) {
    const std::size_t bytes = std::min(most, left_in_page(from));
    if (!copy_own_memory(from, part.data(), bytes)) {
      return false;
    }
    const std::size_t length = std::string_view{part.data(), bytes}.find('\0');
    to.append(part.data(), std::min(length, bytes));
    if (length != std::string_view::npos) {
      to += '\0';
      return true;
    }
    from += bytes;
  }
}

bool read_pointers(const char* const* from, std::vector<const char*>& to) {
  to.clear();
  if (from == nullptr) {
    return true;
  }
  constexpr std::size_t most = 64;
  std::array<const char*, most> part{};
  for (;;) {
    const std::size_t count = std::min(most, left_in_page(from) / sizeof(char*));
    if (!copy_own_memory(from, part.data(), count * sizeof(char*))) {
      return false;
    }
    const auto end = part.begin() + static_cast<std::ptrdiff_t>(count);
    const auto null = std::find(part.begin(), end, nullptr);
    to.insert(to.end(), part.begin(), null);
    if (null != end) {
      return true;
    }
    from += count;
  }
}

/// False: it was changed meanwhile, and `text` is what could be read.
bool read_environment(std::string& text) {
  text.clear();
  char** const all = __atomic_load_n(&environ, __ATOMIC_ACQUIRE);
  std::vector<const char*> variables;
  bool whole = read_pointers(all, variables);
  for (const char* const one : variables) {
    // The first ones may be no pointers where the array has just been freed and `environ` does not
    // say so yet: the others are variables all the same.
    const std::size_t before = text.size();
    if (!append_string(one, text)) {
      text.resize(before);
      whole = false;
    }
  }
  std::vector<const char*> again;
  return whole && read_pointers(__atomic_load_n(&environ, __ATOMIC_ACQUIRE), again) &&
         again == variables;
}

}  // namespace

descriptor current_directory() noexcept {
  // Not ".", which needs the right to search the directory: the process may have given it up.
  descriptor opened{::open("/proc/self/cwd", O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!opened && errno != EMFILE && errno != ENFILE && errno != ENOMEM) {
    opened.reset(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  return opened;
}

int current_umask() {
  constexpr std::string_view name = "\nUmask:";
  const std::string status = sys::text_of("/proc/self/status").value_or("");
  const auto found = status.find(name);
  if (found == std::string::npos) {
    return -1;
  }
  const auto first = status.find_first_of("01234567", found);
  int mask = -1;
  if (first != std::string::npos) {
    std::from_chars(status.data() + first, status.data() + status.size(), mask, 8);
  }
  return mask;
}

std::string current_environment() {
  constexpr int most_tries = 100;
  std::string text;
  // Where another thread changes it all the time, each reading may miss a variable that moved
  // meanwhile, but hardly all of them: what any of them found is taken.
  std::map<std::string, std::string> found;
  for (int i = 0; i < most_tries; ++i) {
    if (read_environment(text)) {
      return text;
    }
    std::size_t begin = 0;
    for (std::size_t end = 0; (end = text.find('\0', begin)) != std::string::npos;
         begin = end + 1) {
      const std::string one = text.substr(begin, end - begin);
      if (one.find('=') != std::string::npos) {
        found.insert_or_assign(one.substr(0, one.find('=')), one);
      }
    }
    std::this_thread::yield();  // the one that changes it may have been stopped halfway
  }
  text.clear();
  for (const auto& [name, one] : found) {
    text.append(one.c_str(), one.size() + 1);
  }
  return text;
}

std::vector<char*> environment_pointers(std::span<char> text) {
  std::vector<char*> pointers;
  for (auto at = text.begin(); at != text.end();) {
    pointers.push_back(&*at);
    at = std::find(at, text.end(), '\0');
    at += at == text.end() ? 0 : 1;
  }
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace troupe::detail
