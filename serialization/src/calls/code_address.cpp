// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/code_address.hpp"

#include "troupe/detail/crossing.hpp"
#include "troupe/detail/type_name.hpp"
#include "troupe/error.hpp"

#include "base/fork_safety.hpp"
#include "symbols/image_id.hpp"

// Where code lies is a property of the ELF image, so this file asks the dynamic linker.
#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace troupe::detail {
namespace {

constexpr std::uint64_t in_other_module = std::uint64_t{1} << 63U;

/// The linker tells addresses as numbers.
const std::byte* to_address(std::uint64_t number) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): there is no pointer to derive it from
  return reinterpret_cast<const std::byte*>(static_cast<std::uintptr_t>(number));
}

struct code_range {
  std::uint64_t begin;  // offsets from the module's base
  std::uint64_t end;
};

struct module {
  std::uintptr_t base = 0;
  std::string path;
  image_id id;
  std::vector<std::byte> build_id;  // what crosses: of a file without one, the words of `id`
  std::vector<code_range> code;

  [[nodiscard]] std::optional<std::uint64_t> offset_of(const void* address) const {
    const std::uint64_t offset = reinterpret_cast<std::uintptr_t>(address) - base;
    return has(offset) ? std::optional{offset} : std::nullopt;
  }
  [[nodiscard]] bool has(std::uint64_t offset) const {
    return std::any_of(code.begin(), code.end(), [offset](const code_range& range) {
      return range.begin <= offset && offset < range.end;
    });
  }
  [[nodiscard]] const std::byte* at(std::uint64_t offset) const {
    return to_address(base + offset);
  }
};

std::span<const ElfW(Phdr)> headers_of(const dl_phdr_info& info) {
  return {info.dlpi_phdr, info.dlpi_phnum};
}

module describe(const dl_phdr_info& info) {
  module found;
  found.base = info.dlpi_addr;
  found.path = info.dlpi_name != nullptr ? info.dlpi_name : "";
  for (const ElfW(Phdr) & header : headers_of(info)) {
    if (header.p_type == PT_LOAD && (header.p_flags & PF_X) != 0) {
      found.code.push_back({header.p_vaddr, header.p_vaddr + header.p_memsz});
    }
  }
  found.id = id_of_image(info);
  auto id = build_id_note(info);
  if (id.empty()) {
    id = std::as_bytes(std::span{found.id.text()});
  }
  found.build_id.assign(id.begin(), id.end());
  return found;
}

/// The dynamic linker always lists the main program first.
const module& main_program() {
  static const module& program = *new module{[] {
    module found;
    ::dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* to) {
          *static_cast<module*>(to) = describe(*info);
          return 1;
        },
        &found);
    return found;
  }()};
  return program;
}

struct load_counters {
  unsigned long long loaded = 0;
  unsigned long long unloaded = 0;
  bool operator==(const load_counters&) const = default;
};

load_counters count_loads() {
  load_counters now;
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* to) {
        *static_cast<load_counters*>(to) = {info->dlpi_adds, info->dlpi_subs};
        return 1;
      },
      &now);
  return now;
}

/// The shared libraries of this process. The linker counts what it loads and unloads, so that a
/// stale list is noticed even where one library took the addresses of another.
class library_list {
 public:
  template <class Visit>
  auto with(Visit&& visit) {
    const fork_safe_guard lock{mutex_};
    const load_counters now = count_loads();
    if (now != counted_ || libraries_.empty()) {
      refresh();
      counted_ = now;
    }
    return visit(libraries_);
  }

 private:
  void refresh() TROUPE_REQUIRES(mutex_) {
    libraries_.clear();
    ::dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* to) {
          static_cast<std::vector<module>*>(to)->push_back(describe(*info));
          return 0;
        },
        &libraries_);
    if (!libraries_.empty()) {
      libraries_.erase(libraries_.begin());  // the main program
    }
    for (module& library : libraries_) {
      std::error_code not_a_file;
      const auto real = std::filesystem::canonical(library.path, not_a_file);
      if (!not_a_file) {
        library.path = real.string();  // a relative path means another file in another process
      }
    }
  }

  fork_safe_mutex mutex_;
  load_counters counted_ TROUPE_GUARDED_BY(mutex_);
  std::vector<module> libraries_ TROUPE_GUARDED_BY(mutex_);
};

library_list& libraries() {
  static library_list& list = *new library_list;  // never destroyed: static destructors may call us
  return list;
}
[[maybe_unused]] const library_list& libraries_made_before_main = libraries();

[[noreturn]] void fail(const std::string& text) {
  throw error{errc::unknown_function, task_ran::no, text};
}

std::string hex(std::uint64_t number) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  do {
    text.insert(text.begin(), digits[number % 16]);
    number /= 16;
  } while (number != 0);
  return "0x" + text;
}

struct library_address {
  std::uint64_t offset = 0;
  std::string path;
  std::vector<std::byte> build_id;
};

/// Null if no loaded library is meant. An equal build id is the same code wherever its file lies;
/// an equal path is not, since files are replaced.
const void* find_loaded(const library_address& wanted) {
  return libraries().with([&](const std::vector<module>& loaded) -> const void* {
    const auto found = std::find_if(loaded.begin(), loaded.end(), [&](const module& library) {
      return wanted.build_id.empty() ? library.path == wanted.path
                                     : library.build_id == wanted.build_id;
    });
    if (found == loaded.end()) {
      return nullptr;
    }
    if (!found->has(wanted.offset)) {
      fail("there is no code at offset " + hex(wanted.offset) + " of " + wanted.path);
    }
    return found->at(wanted.offset);
  });
}

const void* load_and_find(const library_address& wanted) {
  // Never unloaded: a later task may need the same library, and its code must not be unmapped while
  // a task runs it.
  void* const handle = ::dlopen(wanted.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): POSIX keeps its text per thread
    const char* const why = ::dlerror();
    fail("the function is in a shared library that this process cannot load: " +
         std::string{why != nullptr ? why : wanted.path.c_str()});
  }
  if (const void* const address = find_loaded(wanted)) {
    return address;
  }
  ::dlclose(handle);
  fail("this process has another build of " + wanted.path + " than the one the function is in");
}

namespace {
[[maybe_unused]] const auto id_made_before_main = program_build_id();
}  // namespace

}  // namespace

void encode_code_address(output_archive& ar, const void* address) {
  if (address == nullptr) {
    ar(std::uint64_t{0});
    return;
  }
  if (const auto offset = main_program().offset_of(address)) {
    ar(*offset);
    return;
  }
  const bool found = libraries().with([&](const std::vector<module>& loaded) {
    for (const module& library : loaded) {
      if (const auto offset = library.offset_of(address)) {
        ar(in_other_module | *offset, library.path, library.build_id);
        return true;
      }
    }
    return false;
  });
  if (!found) {
    fail("the address " + hex(reinterpret_cast<std::uintptr_t>(address)) +
         " is not code of a loaded program or library, so no other process has it");
  }
}

const void* decode_code_address(input_archive& ar, const std::type_info& type) {
  std::uint64_t word = 0;
  ar(word);
  if (word == 0) {
    return nullptr;
  }
  if ((word & in_other_module) == 0) {
    const module& program = main_program();
    if (!program.has(word)) {
      fail("there is no code at offset " + hex(word) + " of this program, where a " +
           type_name(type) + " should be");
    }
    return program.at(word);
  }
  library_address wanted;
  wanted.offset = word & ~in_other_module;
  ar(wanted.path, wanted.build_id);
  if (const void* const address = find_loaded(wanted)) {
    return address;
  }
  // The path is absolute, so that no search path decides what is loaded.
  if (!std::filesystem::path{wanted.path}.is_absolute()) {
    fail("the shared library '" + wanted.path + "' is not loaded in this process");
  }
  return load_and_find(wanted);
}

std::span<const std::byte> program_build_id() {
  static const std::vector<std::byte>& id = *new std::vector<std::byte>{main_program().build_id};
  return id;
}

std::optional<loaded_image> find_loaded_image(std::string_view id) {
  if (main_program().id.text() == id) {
    return loaded_image{"/proc/self/exe", main_program().base};
  }
  return libraries().with([&](const std::vector<module>& loaded) -> std::optional<loaded_image> {
    for (const module& library : loaded) {
      if (library.id.text() == id) {
        return loaded_image{library.path, library.base};
      }
    }
    return std::nullopt;
  });
}

void save_function(output_archive& ar, const void* address) {
  encode_code_address(ar, address);
}

const void* load_function(input_archive& ar, const std::type_info& type) {
  return decode_code_address(ar, type);
}

namespace {

// A pointer to a member function as the Itanium C++ ABI defines it, section 2.3.
struct member_pointer {
  std::ptrdiff_t pointer;
  std::ptrdiff_t adjustment;
};

#if defined(__aarch64__) || defined(__arm__)
// There bit 0 of a function's address may mean Thumb, so the flag is in the adjustment.
bool is_virtual(const member_pointer& member) {
  return (member.adjustment & 1) != 0;
}
std::ptrdiff_t table_offset(const member_pointer& member) {
  return member.pointer;
}
std::ptrdiff_t this_offset(const member_pointer& member) {
  return member.adjustment / 2;
}
member_pointer make_member(bool virtual_one, std::ptrdiff_t pointer, std::ptrdiff_t adjustment) {
  return {pointer, adjustment * 2 + (virtual_one ? 1 : 0)};
}
#else
bool is_virtual(const member_pointer& member) {
  return (member.pointer & 1) != 0;
}
std::ptrdiff_t table_offset(const member_pointer& member) {
  return member.pointer - 1;
}
std::ptrdiff_t this_offset(const member_pointer& member) {
  return member.adjustment;
}
member_pointer make_member(bool virtual_one, std::ptrdiff_t pointer, std::ptrdiff_t adjustment) {
  return {pointer + (virtual_one ? 1 : 0), adjustment};
}
#endif

enum class member_kind : std::uint8_t { null, direct, through_table };
constexpr bool is_valid(member_kind kind) {
  return kind <= member_kind::through_table;
}

}  // namespace

void save_member_function(output_archive& ar, const void* pointer, std::size_t size) {
  member_pointer member{};
  if (size != sizeof member) {
    fail("pointers to member functions have an unknown form here");
  }
  std::memcpy(&member, pointer, sizeof member);
  if (is_virtual(member)) {
    ar(member_kind::through_table, static_cast<std::int64_t>(this_offset(member)),
       static_cast<std::int64_t>(table_offset(member)));
  } else if (member.pointer == 0) {
    ar(member_kind::null);
  } else {
    ar(member_kind::direct, static_cast<std::int64_t>(this_offset(member)));
    encode_code_address(ar, to_address(static_cast<std::uint64_t>(member.pointer)));
  }
}

void load_member_function(input_archive& ar, void* pointer, std::size_t size,
                          const std::type_info& type) {
  // Larger than any real class or table of virtual functions: stray offsets end here, not in a
  // call.
  constexpr std::int64_t farthest = std::int64_t{1} << 24U;
  member_pointer member{};
  if (size != sizeof member) {
    fail("pointers to member functions have an unknown form here");
  }
  member_kind kind{};
  ar(kind);
  if (kind != member_kind::null) {
    std::int64_t adjustment = 0;
    ar(adjustment);
    std::int64_t table = 0;
    std::ptrdiff_t code = 0;
    if (kind == member_kind::through_table) {
      ar(table);
      code = static_cast<std::ptrdiff_t>(table);
    } else {
      code = reinterpret_cast<std::ptrdiff_t>(decode_code_address(ar, type));
    }
    if (adjustment < -farthest || adjustment > farthest || table < 0 || table > farthest ||
        table % static_cast<std::int64_t>(sizeof(void*)) != 0) {
      ar.fail("this is no pointer to a member function", type);
    }
    member = make_member(kind == member_kind::through_table, code,
                         static_cast<std::ptrdiff_t>(adjustment));
  }
  std::memcpy(pointer, &member, sizeof member);
}

}  // namespace troupe::detail
