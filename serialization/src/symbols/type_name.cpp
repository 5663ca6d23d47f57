// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/type_name.hpp"

#include "symbols/symbols.hpp"

// Demangling and the type of an exception that is no std::exception exist only in the C++ ABI.
#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <string_view>

namespace troupe::detail {
namespace {

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at)) {
    text.replace(at, what.size(), by);
    at += by.size();
  }
}

/// What the ABI's demangler makes of it, in the words people write.
std::string readable(const char* mangled) {
  constexpr std::size_t longest = 4096;
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> demangled{
      abi::__cxa_demangle(mangled, nullptr, nullptr, &status), &std::free};
  std::string name = demangled != nullptr ? demangled.get() : mangled;
  replace_all(name, "std::__cxx11::", "std::");
  replace_all(name, "[abi:cxx11]", "");
  replace_all(name, "std::basic_string<char, std::char_traits<char>, std::allocator<char> >",
              "std::string");
  if (name.size() > longest) {
    name.resize(longest);
    name += "...";
  }
  return name;
}

}  // namespace

std::string type_name(const std::type_info& type) {
  return readable(type.name());
}

std::string demangled(const char* name) {
  // The demangler would take the function "f" for the type float.
  return std::string_view{name}.starts_with("_Z") ? readable(name) : name;
}

const std::type_info* current_exception_type() noexcept {
  return abi::__cxa_current_exception_type();
}

}  // namespace troupe::detail
