// SPDX-License-Identifier: BSD-3-Clause
#include "supervision/causes.hpp"

#include "troupe/supervisor_outcome.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>
#include <variant>

namespace troupe::detail {

end_cause cause_of(const exit_status& status, const std::vector<int>& success_codes) {
  if (const auto* by_itself = std::get_if<exited>(&status)) {
    const bool success = std::find(success_codes.begin(), success_codes.end(), by_itself->code) !=
                         success_codes.end();
    return success ? end_cause::finished : end_cause::exit_code;
  }
  return end_cause::signal;
}

}  // namespace troupe::detail

namespace troupe {

std::string_view to_string(child_phase phase) noexcept {
  constexpr std::array<std::string_view, 6> names{"waiting",  "starting", "running",
                                                  "stopping", "pausing",  "stopped"};
  const auto at = static_cast<std::size_t>(phase);
  return at < names.size() ? names[at] : "unknown";
}

std::string_view to_string(end_cause cause) noexcept {
  const auto at = static_cast<std::size_t>(cause);
  return at < detail::cause_table.size() ? detail::cause_table[at].name : "unknown";
}

std::string_view to_string(supervisor_end how) noexcept {
  constexpr std::array<std::string_view, 4> names{"stopped", "auto_shutdown", "gave_up", "invalid"};
  const auto at = static_cast<std::size_t>(how);
  return at < names.size() ? names[at] : "unknown";
}

}  // namespace troupe
