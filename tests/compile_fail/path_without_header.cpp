// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: to let paths cross, include "troupe/filesystem.hpp"
// NAMES: must_be_serializable<std::filesystem::(__cxx11::)?path>
#include "troupe/pool.hpp"

#include <filesystem>

bool run(const std::filesystem::path& file) {
  return file.empty();
}

void test(troupe::pool& pool) {
  pool.apply(run, std::filesystem::path{"file"});
}
