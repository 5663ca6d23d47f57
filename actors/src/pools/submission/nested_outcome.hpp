// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"

#include "pools/submission/process_submission.hpp"

#include <cstdint>
#include <string>

namespace troupe::detail {

/// The encoded outcome of a nested task, with its descriptors, for the worker that waits for it.
struct outcome_message {
  std::string text;
  attachment_list descriptors;
};
outcome_message make_outcome(std::uint64_t ticket, const process_submission& finished);
/// The outcome message of a task that failed with `why`.
outcome_message make_outcome(std::uint64_t ticket, const failure& why);

}  // namespace troupe::detail
