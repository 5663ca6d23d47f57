// SPDX-License-Identifier: BSD-3-Clause
#include "pools/pool_limits.hpp"

#include <stdexcept>
#include <string>

namespace troupe::detail {
namespace {

bool uses_former_name(const restart_policy& given) {
  const restart_policy unset{};
  return given.intensity != unset.intensity || given.period != unset.period ||
         given.start_attempts != unset.start_attempts || given.backoff != unset.backoff ||
         given.max_backoff != unset.max_backoff;
}

}  // namespace

restart_limits limits_of(const pool_options& options) {
  if (!uses_former_name(options.restart)) {
    return options.limits;
  }
  restart_limits limits = options.limits;
  limits.intensity = options.restart.intensity;
  limits.period = options.restart.period;
  limits.start_attempts = options.restart.start_attempts;
  limits.backoff = options.restart.backoff;
  limits.max_backoff = options.restart.max_backoff;
  limits.jitter = 0;
  return limits;
}

void check_limits(std::string_view who, const pool_options& options) {
  const restart_limits limits = limits_of(options);
  if (limits.intensity < 0 || limits.period.count() <= 0 || limits.start_attempts < 1 ||
      limits.backoff.count() < 0 || limits.max_backoff.count() < 0 ||
      !(limits.jitter >= 0 && limits.jitter <= 1) || limits.stable_after.count() < 0) {
    throw std::invalid_argument{
        std::string{who} + ": " + (uses_former_name(options.restart) ? ".restart" : ".limits") +
        " needs an intensity of 0 or more, a positive period, at least 1 start attempt, times that "
        "are not negative, and a jitter from 0 to 1"};
  }
}

}  // namespace troupe::detail
