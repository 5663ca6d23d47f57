// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/error.hpp"

#include "scheduling/attempts.hpp"

#include <cstdint>
#include <exception>
#include <memory>
#include <stop_token>
#include <vector>

namespace troupe::detail {

/// Why an item has no value: what its function threw, if it did, and the same as plain data.
struct item_end {
  std::uint32_t item = 0;
  std::exception_ptr thrown;
  std::shared_ptr<const failure> what;
};

/// The records of a submission's items that most submissions never need: failures, stop tokens,
/// further attempts. Owned by the submission. Guarded by the `attempt_book` until the submission is
/// done, and not written after that.
struct item_records {
  struct stop_entry {
    std::uint32_t item = 0;
    bool timed_out = false;  ///< the attempt under way has reached its timeout
    std::stop_source source;
  };
  struct attempt_entry {
    std::uint32_t item = 0;
    attempt_count now;  ///< the one under way, or the next one
  };
  std::vector<item_end> ends;
  std::vector<stop_entry> stops;
  std::vector<attempt_entry> attempts;    ///< of items with more than one attempt
  std::vector<item_end> pending_retries;  ///< how the last attempts of waiting items ended
  bool stop_all = false;
  bool overdue = false;  ///< its deadline has passed
};

}  // namespace troupe::detail
