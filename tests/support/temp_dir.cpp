// SPDX-License-Identifier: BSD-3-Clause
#include "support/temp_dir.hpp"

#include <stdlib.h>

#include <cerrno>
#include <fstream>
#include <string>
#include <system_error>

namespace troupe::test {

temp_dir::temp_dir() {
  // Not called troupe...: names that start so are what leak_check looks for.
  std::string name = (std::filesystem::temp_directory_path() / "test-of-troupe-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw std::system_error{errno, std::generic_category(), "mkdtemp " + name};
  }
  path_ = name;
}

temp_dir::~temp_dir() {
  std::error_code ignored;  // what is left stays in the temporary folder
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path temp_dir::write(const std::filesystem::path& name,
                                      std::string_view content) const {
  const std::filesystem::path file = path_ / name;
  std::filesystem::create_directories(file.parent_path());
  std::ofstream out{file, std::ios::binary};
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  out.close();
  if (!out) {
    throw std::system_error{errno, std::generic_category(), "write " + file.string()};
  }
  return file;
}

}  // namespace troupe::test
