// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"

#include "pools/submission/process_submission.hpp"

#include <cstdint>
#include <string>

namespace troupe::detail {

/// The outcome of a task of a task, on its way to the worker that waits for it.
struct outcome_message {
  std::string text;
  attachment_list descriptors;
};
outcome_message make_outcome(std::uint64_t ticket, const process_submission& finished);
/// The same for a task that fails with `why`.
outcome_message make_outcome(std::uint64_t ticket, const failure& why);

}  // namespace troupe::detail
