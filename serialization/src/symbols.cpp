// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/symbols.hpp"

#if TROUPE_SYMBOLS
// Opened when the first backtrace is asked for: linked, it and the four libraries behind it would
// make the start of every process slower, and a machine without it would not run the program.
#include <dlfcn.h>
#include <elfutils/libdwfl.h>
#endif

#include <cstdio>
#include <filesystem>
#include <map>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace troupe::detail {
namespace {

std::string last_part(std::string_view path) {
  const auto slash = path.rfind('/');
  return std::string{slash == std::string_view::npos ? path : path.substr(slash + 1)};
}

std::string bare(const code_location& where) {
  char offset[32];
  std::snprintf(offset, sizeof offset, "0x%llx", static_cast<unsigned long long>(where.offset));
  return where.module.empty() ? offset : last_part(where.module) + "+" + offset;
}

#if TROUPE_SYMBOLS

/// The functions of libdw that are used here.
#define TROUPE_DW_FUNCTIONS(apply)                                                                 \
  apply(dwfl_begin) apply(dwfl_end) apply(dwfl_report_begin) apply(dwfl_report_end)                \
      apply(dwfl_report_offline) apply(dwfl_build_id_find_elf) apply(dwfl_build_id_find_debuginfo) \
          apply(dwfl_offline_section_address) apply(dwfl_module_getelf)                            \
              apply(dwfl_module_addrinfo) apply(dwfl_module_getsrc) apply(dwfl_lineinfo)

struct dw_library {
#define TROUPE_DW(name) decltype(&::name) name = nullptr;
  TROUPE_DW_FUNCTIONS(TROUPE_DW)
#undef TROUPE_DW
  bool whole = false;

  dw_library() {
    void* const handle = ::dlopen("libdw.so.1", RTLD_NOW | RTLD_LOCAL);  // for good
    if (handle == nullptr) {
      return;
    }
    whole = true;
    const auto find = [&](auto& function, const char* name) {
      function =
          reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(handle, name));
      whole = whole && function != nullptr;
    };
#define TROUPE_DW(name) find(name, #name);
    TROUPE_DW_FUNCTIONS(TROUPE_DW)
#undef TROUPE_DW
  }
};

/// The symbols of some files, each read when it is first asked about.
class symbol_reader {
 public:
  symbol_reader(const dw_library& dw, std::span<const code_location> where) : dw_{dw} {
    callbacks_.find_elf = dw.dwfl_build_id_find_elf;
    // Not the standard one: it may ask servers on the network.
    callbacks_.find_debuginfo = dw.dwfl_build_id_find_debuginfo;
    callbacks_.section_address = dw.dwfl_offline_section_address;
    session_ = dw.dwfl_begin(&callbacks_);
    if (session_ == nullptr) {
      return;
    }
    dw.dwfl_report_begin(session_);
    for (const code_location& one : where) {
      // The names come from a process that was damaged: nothing that opening could wait for.
      std::error_code none;
      if (!files_.contains(one.module) && one.module.starts_with('/') &&
          std::filesystem::is_regular_file(one.module, none)) {
        files_.emplace(one.module, dw.dwfl_report_offline(session_, one.module.c_str(),
                                                          one.module.c_str(), -1));
      }
    }
    dw.dwfl_report_end(session_, nullptr, nullptr);
  }
  ~symbol_reader() {
    if (session_ != nullptr) {
      dw_.dwfl_end(session_);
    }
  }
  symbol_reader(const symbol_reader&) = delete;
  symbol_reader& operator=(const symbol_reader&) = delete;

  /// Empty if nothing is known.
  [[nodiscard]] std::string describe(const code_location& where) const {
    const auto file = files_.find(where.module);
    GElf_Addr bias = 0;
    if (file == files_.end() || file->second == nullptr ||
        dw_.dwfl_module_getelf(file->second, &bias) == nullptr) {
      return {};
    }
    const GElf_Addr address = where.offset + bias;
    std::string text;
    GElf_Off into = 0;
    GElf_Sym symbol;
    if (const char* const name = dw_.dwfl_module_addrinfo(file->second, address, &into, &symbol,
                                                          nullptr, nullptr, nullptr)) {
      text = demangled(name);
    }
    int number = 0;
    Dwfl_Line* const line = dw_.dwfl_module_getsrc(file->second, address);
    const char* const source =
        line == nullptr ? nullptr
                        : dw_.dwfl_lineinfo(line, nullptr, &number, nullptr, nullptr, nullptr);
    if (source != nullptr) {
      text += (text.empty() ? "at " : " at ") + std::string{source} + ":" + std::to_string(number);
    }
    return text;
  }

 private:
  const dw_library& dw_;
  Dwfl_Callbacks callbacks_{};
  Dwfl* session_ = nullptr;
  std::map<std::string, Dwfl_Module*> files_;
};

#endif

}  // namespace

std::vector<std::string> describe_code(std::span<const code_location> where) {
  std::vector<std::string> lines;
  lines.reserve(where.size());
#if TROUPE_SYMBOLS
  if (!where.empty()) {
    static const dw_library& dw = *new dw_library;  // static destructors may call this
    if (dw.whole) {
      const symbol_reader symbols{dw, where};
      for (const code_location& one : where) {
        const std::string known = symbols.describe(one);
        lines.push_back(known.empty() ? bare(one) : known + " (" + bare(one) + ")");
      }
      return lines;
    }
  }
#endif
  for (const code_location& one : where) {
    lines.push_back(bare(one));
  }
  return lines;
}

}  // namespace troupe::detail
