// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/pool_options.hpp"

#include <stdexcept>
#include <string>
#include <string_view>

// What every kind of pool asks of its options. Each check throws std::invalid_argument whose text
// begins with `who` and names the member, what it is, and what it may be.
namespace troupe::detail {

inline constexpr int max_workers_of_a_pool = 4096;
inline constexpr int max_coroutines_of_a_worker = 65'536;

void check_between(std::string_view who, std::string_view member, int value, int most,
                   std::string_view cure = {});
void check_not_negative(std::string_view who, std::string_view member,
                        std::chrono::milliseconds value);
void check_positive(std::string_view who, std::string_view member,
                    std::optional<std::chrono::milliseconds> value);

/// The members that pool_options and thread_pool_options share.
template <class Options>
void check_size_options(std::string_view who, const Options& options) {
  check_between(who, ".workers", options.workers, max_workers_of_a_pool,
                " (leave it out for usable_cpus())");
  check_between(who, ".concurrency", options.concurrency, max_coroutines_of_a_worker);
  if (options.min_workers || options.max_workers) {
    const int most = options.max_workers.value_or(options.workers);
    const int least = options.min_workers.value_or(1);
    if (least < 1 || most > max_workers_of_a_pool || least > most) {
      throw std::invalid_argument{
          std::string{who} + ": .min_workers = " + std::to_string(least) +
          " and .max_workers = " + std::to_string(most) +
          " are not 1 <= min <= max <= " + std::to_string(max_workers_of_a_pool)};
    }
  }
  check_not_negative(who, ".idle_timeout", options.idle_timeout);
  check_not_negative(who, ".grace", options.grace);
}

/// For `map_async`, whose future has waits with a limit of their own.
void refuse_timeout(const map_options& how);

}  // namespace troupe::detail
