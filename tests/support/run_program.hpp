// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <vector>

namespace troupe::test {

/// What a program wrote, and how it ended.
struct run_result {
  bool ended = false;  ///< it and all that hold its output, before the deadline of `eventually`
  int status = -1;     ///< as of waitpid
  std::string output;
};

/// Runs a program, with `environment` ("NAME=value") beside our own, until everything that holds
/// its standard output and error has ended; what has not at the deadline is killed.
[[nodiscard]] run_result run_program(const std::vector<std::string>& command,
                                     const std::vector<std::string>& environment = {});

}  // namespace troupe::test
