// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "totals.hpp"

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace census {

/// A task that a dead worker did not finish, and another one did.
struct retried_task {
  std::string path;
  std::uint32_t attempt = 0;  ///< that succeeded
};

/// One way of doing the census: with workers, or in the program itself.
struct outcome {
  totals sums;
  std::chrono::duration<double> time{};  ///< of one pass, the mean if there were several
  std::vector<std::string> differences;  ///< between the passes
  int passes = 0;
  std::chrono::duration<double> start_time{};  ///< of the workers
  std::uint64_t kills = 0;
  std::uint64_t deaths = 0;
  std::vector<retried_task> retried;
};

void print_totals(std::ostream& out, const std::string& directory, const totals& sums);
void print_chaos(std::ostream& out, const outcome& parallel);
void print_comparison(std::ostream& out, int workers, const outcome& parallel,
                      const outcome& serial);

/// Whether everything was the same, and if not, what was not.
[[nodiscard]] bool print_verdict(std::ostream& out, const outcome& parallel, const outcome& serial);

}  // namespace census
