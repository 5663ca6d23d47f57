// SPDX-License-Identifier: BSD-3-Clause
#include "process/loaded_modules.hpp"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstring>
#include <string_view>

namespace troupe::detail {
namespace {

/// One that was loaded when we looked. Its dynamic section is where no other module's is; the name
/// tells those apart that had the same place one after the other.
struct noted_module {
  std::uintptr_t dynamic = 0;
  std::uint64_t name = 0;
  image_id id;
};

std::uint64_t hash_of(const char* name) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a
  for (; name != nullptr && *name != '\0'; ++name) {
    hash = (hash ^ static_cast<unsigned char>(*name)) * 0x100000001b3U;
  }
  return hash;
}

/// Of this process. Fixed: read in a signal handler.
struct module_notes {
  std::array<noted_module, 128> modules;
  std::size_t count = 0;
  std::array<char, PATH_MAX> program{};  ///< the linker does not name the main program

  [[nodiscard]] const noted_module* find(std::uintptr_t dynamic, std::uint64_t name) const {
    const auto end = modules.begin() + count;
    const auto at = std::find_if(modules.begin(), end, [&](const noted_module& one) {
      return one.dynamic == dynamic && one.name == name;
    });
    return at == end ? nullptr : &*at;
  }
};
module_notes notes;

void note_program() noexcept {
  const ssize_t length =
      ::readlink("/proc/self/exe", notes.program.data(), notes.program.size() - 1);
  std::string_view path{notes.program.data(),
                        static_cast<std::size_t>(std::max<ssize_t>(length, 0))};
  notes.program[path.size()] = '\0';
  // The kernel's words for a file without a name.
  constexpr std::string_view gone = " (deleted)";
  if (path.ends_with(gone) && ::access(notes.program.data(), F_OK) != 0) {
    notes.program[path.size() - gone.size()] = '\0';
  }
}

int note_module(dl_phdr_info* info, std::size_t /*size*/, void* /*nothing*/) {
  std::uintptr_t dynamic = 0;
  for (std::size_t i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type == PT_DYNAMIC) {
      dynamic = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    }
  }
  const std::uint64_t name = hash_of(info->dlpi_name);
  if (notes.find(dynamic, name) != nullptr) {
    return 0;
  }
  if (notes.count == notes.modules.size()) {
    return 1;
  }
  notes.modules.at(notes.count++) = {dynamic, name, id_of_image(*info)};
  return 0;
}

module_place place_in(const link_map& map, std::uintptr_t first, std::uintptr_t end) noexcept {
  module_place found;
  found.path = map.l_name == nullptr || *map.l_name == '\0' ? notes.program.data() : map.l_name;
  found.base = map.l_addr;
  const noted_module* const noted =
      notes.find(reinterpret_cast<std::uintptr_t>(map.l_ld), hash_of(map.l_name));
  found.id = noted != nullptr ? noted->id : id_of_mapped(first, end);
  return found;
}

}  // namespace

void note_loaded_modules() noexcept {
  if (notes.program.front() == '\0') {
    note_program();
  }
  ::dl_iterate_phdr(&note_module, nullptr);
}

module_place module_of(void* address) noexcept {
#if defined(DLFO_STRUCT_HAS_EH_DBASE)
  // Made for this: takes no lock, so that a crash inside of dlopen cannot stop it.
  dl_find_object found{};
  if (::_dl_find_object(address, &found) != 0 || found.dlfo_link_map == nullptr) {
    return {};
  }
  return place_in(*found.dlfo_link_map, reinterpret_cast<std::uintptr_t>(found.dlfo_map_start),
                  reinterpret_cast<std::uintptr_t>(found.dlfo_map_end));
#else
  Dl_info found{};
  link_map* map = nullptr;
  if (::dladdr1(address, &found, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) == 0 ||
      map == nullptr) {
    return {};
  }
  return place_in(*map, reinterpret_cast<std::uintptr_t>(found.dli_fbase),
                  reinterpret_cast<std::uintptr_t>(address) + 1);
#endif
}

}  // namespace troupe::detail
