// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/error.hpp"

#include "channel/worker_protocol.hpp"

#include <string>

namespace troupe::detail {

/// For more than `max_attachments_of_part` shared objects in one part.
[[nodiscard]] inline error too_many_attachments(const std::string& what, task_ran ran) {
  return {errc::payload_too_large, ran,
          what + " refer to more than " + std::to_string(max_attachments_of_part) +
              " shared objects: send them in several tasks, or through a queue"};
}

}  // namespace troupe::detail
