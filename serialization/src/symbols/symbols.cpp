// SPDX-License-Identifier: BSD-3-Clause
#include "symbols/symbols.hpp"

#include "symbols/image_id.hpp"

#include <dlfcn.h>
#if TROUPE_SYMBOLS
// libdw is opened when the first backtrace is asked for. If it were linked, it and the four
// libraries that it needs would make the start of every process slower, and the program would not
// run on a machine without it.
#include <elfutils/libdwfl.h>
#endif
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

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

/// An open file, for a moment.
class opened {
 public:
  explicit opened(const std::string& path) {
    // The names come from a process that was damaged, so the path may be any file. O_NONBLOCK: the
    // open of a pipe would wait for its other end.
    std::error_code none;
    if (path.starts_with('/') && std::filesystem::is_regular_file(path, none)) {
      number_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
      if (number_ >= 0 && number_ <= STDERR_FILENO) {
        const int low = number_;
        number_ = ::fcntl(low, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        ::close(low);
      }
    }
  }
  ~opened() {
    if (number_ >= 0) {
      ::close(number_);
    }
  }
  opened(const opened&) = delete;
  opened& operator=(const opened&) = delete;

  [[nodiscard]] bool is_open() const { return number_ >= 0; }
  [[nodiscard]] bool is_build(std::string_view id) const {
    return is_open() && id_of_file(number_).text() == id;
  }
  /// Opens this very file, whatever has its path by now.
  [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(number_); }

 private:
  int number_ = -1;
};

/// An exported function of what this process itself has loaded: known without any file.
std::string exported_function(const code_location& where) {
  const auto image = find_loaded_image(where.build_id);
  Dl_info found{};
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the linker tells addresses as numbers
  if (!image || ::dladdr(reinterpret_cast<const void*>(image->base + where.offset), &found) == 0 ||
      found.dli_sname == nullptr) {
    return {};
  }
  return demangled(found.dli_sname);
}

#endif

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
      if (!one.build_id.empty() && !files_.contains({one.module, one.build_id})) {
        files_.emplace(std::pair{one.module, one.build_id}, find_file(one));
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

  /// In brackets, why nothing is known of code that was in a file.
  [[nodiscard]] std::string why_unknown(const code_location& where) const {
    const auto file = files_.find({where.module, where.build_id});
    return file == files_.end() || file->second.why_not.empty() ? std::string{}
                                                                : " (" + file->second.why_not + ")";
  }

  /// Empty if nothing is known.
  [[nodiscard]] std::string describe(const code_location& where) const {
    const auto file = files_.find({where.module, where.build_id});
    if (file == files_.end()) {
      return {};
    }
    GElf_Addr bias = 0;
    Dwfl_Module* const module = file->second.symbols;
    if (module == nullptr || dw_.dwfl_module_getelf(module, &bias) == nullptr) {
      return exported_function(where);
    }
    const GElf_Addr address = where.offset + bias;
    std::string text;
    GElf_Off into = 0;
    GElf_Sym symbol;
    if (const char* const name =
            dw_.dwfl_module_addrinfo(module, address, &into, &symbol, nullptr, nullptr, nullptr)) {
      text = demangled(name);
    }
    int number = 0;
    Dwfl_Line* const line = dw_.dwfl_module_getsrc(module, address);
    const char* const source =
        line == nullptr ? nullptr
                        : dw_.dwfl_lineinfo(line, nullptr, &number, nullptr, nullptr, nullptr);
    if (source != nullptr) {
      text += (text.empty() ? "at " : " at ") + std::string{source} + ":" + std::to_string(number);
    }
    return text;
  }

 private:
  struct code_file {
    Dwfl_Module* symbols = nullptr;
    std::string why_not;
  };

  Dwfl_Module* symbols_of(const opened& from, const code_location& where) {
    const std::string name = where.module + ' ' + where.build_id;
    return dw_.dwfl_report_offline(session_, name.c_str(), from.path().c_str(), -1);
  }

  /// The file that has the code: what is at that path, unless it is another build by now, or what
  /// this process itself runs, which can be opened even when it has no name any more.
  code_file find_file(const code_location& where) {
    const opened there{where.module};
    if (there.is_build(where.build_id)) {
      return {symbols_of(there, where), {}};
    }
    if (const auto image = find_loaded_image(where.build_id)) {
      if (const opened own{image->path}; own.is_build(where.build_id)) {
        return {symbols_of(own, where), {}};
      }
    }
    std::error_code none;
    if (there.is_open()) {
      return {nullptr, "another build is in its place now"};
    }
    return {nullptr, where.module.starts_with('/') && !std::filesystem::exists(where.module, none)
                         ? "its file is gone"
                         : ""};
  }

  const dw_library& dw_;
  Dwfl_Callbacks callbacks_{};
  Dwfl* session_ = nullptr;
  std::map<std::pair<std::string, std::string>, code_file> files_;
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
        lines.push_back(known.empty() ? bare(one) + symbols.why_unknown(one)
                                      : known + " (" + bare(one) + ")");
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
