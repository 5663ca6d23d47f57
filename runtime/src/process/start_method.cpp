// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/start_method.hpp"

#include <atomic>

namespace troupe {
namespace {
std::atomic<start_method> default_method{start_method::forkserver};
}  // namespace

std::string_view to_string(start_method method) noexcept {
  switch (method) {
    case start_method::forkserver:
      return "forkserver";
    case start_method::spawn:
      return "spawn";
    case start_method::fork:
      return "fork";
  }
  return "unknown";
}

void set_start_method(start_method method) noexcept {
  default_method = method;
}
start_method get_start_method() noexcept {
  return default_method;
}

void detail::adopt_start_method(std::uint64_t method) noexcept {
  if (method <= static_cast<std::uint64_t>(start_method::fork)) {
    default_method = static_cast<start_method>(method);
  }
}

}  // namespace troupe
