// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/descriptor.hpp"

#include "process/child.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string_view>

namespace troupe::detail::child {
namespace {

constexpr const char* variable = "TROUPE_WORKER";
constexpr std::string_view prefix = "troupe-worker-";

bool is_of_a_mark(char c) {
  return (c >= '0' && c <= '9') || c == '-';
}

/// Finds the marks in a file of /proc, piece by piece: it may be large, and has no known size.
void find_marks(const std::string& path, std::vector<std::string>& found) {
  const descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  std::string text;
  std::array<char, 4096> piece{};
  for (ssize_t bytes = 0;
       file && (bytes = ::read(file.number(), piece.data(), piece.size())) > 0;) {
    text.append(piece.data(), static_cast<std::size_t>(bytes));
    std::size_t begin = 0;
    while ((begin = text.find(prefix, begin)) != std::string::npos) {
      std::size_t end = begin + prefix.size();
      while (end < text.size() && is_of_a_mark(text[end])) {
        ++end;
      }
      if (end == text.size()) {
        break;  // its rest is in the next piece
      }
      found.push_back(text.substr(begin, end - begin));
      begin = end;
    }
    const std::size_t keep = begin != std::string::npos    ? begin
                             : text.size() < prefix.size() ? 0
                                                           : text.size() - prefix.size();
    text.erase(0, keep);
  }
  if (text.starts_with(prefix)) {
    found.push_back(text);
  }
}

}  // namespace

std::string mark_of_worker(pid_t server, std::uint64_t worker) {
  return std::string{prefix} + std::to_string(server) + "-" + std::to_string(worker);
}

void mark_this_process(const std::string& mark) noexcept {
  ::setenv(variable, mark.c_str(), 1);
  const descriptor memory{::memfd_create(mark.c_str(), MFD_CLOEXEC)};
  if (memory && ::ftruncate(memory.number(), 1) == 0) {
    // Stays mapped: the name of what is mapped is the mark, and nothing is in it.
    static_cast<void>(::mmap(nullptr, 1, PROT_READ, MAP_SHARED, memory.number(), 0));
  }
}

std::vector<std::string> marks_of(pid_t pid) {
  std::vector<std::string> found;
  const std::string folder = "/proc/" + std::to_string(pid);
  find_marks(folder + "/maps", found);
  find_marks(folder + "/environ", found);
  return found;
}

}  // namespace troupe::detail::child
