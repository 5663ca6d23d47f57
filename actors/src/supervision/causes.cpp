// SPDX-License-Identifier: BSD-3-Clause
#include "supervision/causes.hpp"

#include <algorithm>
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
