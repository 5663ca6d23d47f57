// SPDX-License-Identifier: BSD-3-Clause
#include "host/library_copies.hpp"

#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

// A note in each file that has this code, which the loader maps with it: owner "troupe", type 1.
__asm__(
    ".pushsection .note.troupe, \"a\", %note\n"
    ".balign 4\n"
    ".long 7\n"
    ".long 0\n"
    ".long 1\n"
    ".asciz \"troupe\"\n"
    ".balign 4\n"
    ".popsection\n");

namespace troupe::detail {
namespace {

constexpr std::string_view owner{"troupe", 7};  // with its zero

std::size_t aligned(std::size_t bytes) {
  return (bytes + 3) & ~std::size_t{3};
}

bool has_note(const std::byte* notes, std::size_t bytes) {
  for (std::size_t at = 0; at + sizeof(ElfW(Nhdr)) <= bytes;) {
    ElfW(Nhdr) note;
    std::memcpy(&note, notes + at, sizeof note);
    const std::size_t name = at + sizeof note;
    const std::size_t end = name + aligned(note.n_namesz) + aligned(note.n_descsz);
    if (end > bytes) {
      return false;
    }
    if (note.n_type == 1 && note.n_namesz == owner.size() &&
        std::memcmp(notes + name, owner.data(), owner.size()) == 0) {
      return true;
    }
    at = end;
  }
  return false;
}

int look_at(dl_phdr_info* info, std::size_t /*bytes*/, void* into) {
  auto& found = *static_cast<std::vector<library_copy>*>(into);
  const auto own = reinterpret_cast<std::uintptr_t>(&library_copies);
  library_copy here;
  bool is_copy = false;
  for (ElfW(Half) i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& part = info->dlpi_phdr[i];
    const std::uintptr_t begin = info->dlpi_addr + part.p_vaddr;
    if (part.p_type == PT_NOTE) {
      // NOLINTNEXTLINE(performance-no-int-to-ptr): where the loader has mapped it
      is_copy = is_copy || has_note(reinterpret_cast<const std::byte*>(begin), part.p_memsz);
    } else if (part.p_type == PT_LOAD && own >= begin && own - begin < part.p_memsz) {
      here.is_own = true;
    }
  }
  if (is_copy) {
    here.path = info->dlpi_name;
    here.is_program = here.path.empty();
    if (here.is_program) {
      std::error_code unknown;
      here.path = std::filesystem::read_symlink("/proc/self/exe", unknown).string();
    }
    found.push_back(std::move(here));
  }
  return 0;
}

}  // namespace

std::vector<library_copy> library_copies() {
  std::vector<library_copy> found;
  ::dl_iterate_phdr(&look_at, &found);
  return found;
}

std::string advice_on_copies() {
  std::string own;
  std::string others;
  for (const library_copy& each : library_copies()) {
    if (each.is_own) {
      own = each.path;
    } else {
      others += (others.empty() ? "" : ", ") + each.path;
    }
  }
  if (others.empty()) {
    return {};
  }
  return "troupe: " + own +
         " was linked with a copy of the library of its own, which knows nothing of that in " +
         others +
         ". Build troupe as a shared library and link both to it, or have the program make pools "
         "and "
         "hand them to the plugin by functions of its own";
}

}  // namespace troupe::detail
