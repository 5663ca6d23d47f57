// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"

#include <filesystem>
#include <string>

namespace troupe {

/// @{
/// How a `std::filesystem::path` crosses, where this header is included. It is a header of its own
/// because the standard's header is slow to compile and few tasks need it.
inline void save(output_archive& ar, const std::filesystem::path& path) {
  ar(path.native());
}
inline void load(input_archive& ar, std::filesystem::path& path) {
  std::filesystem::path::string_type text;
  ar(text);
  path = std::move(text);
}
/// @}

}  // namespace troupe
