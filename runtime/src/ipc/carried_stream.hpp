// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/descriptor.hpp"

#include <memory>

namespace troupe::detail {

class secure_stream;

/// A Unix socket through which other processes send and receive over a stream whose keys are here:
/// two threads of this process carry the bytes, until either side has ended. So the stream lasts no
/// longer than this process.
///
/// @throws error{resource_exhausted}.
[[nodiscard]] descriptor carry(std::shared_ptr<secure_stream> stream);

}  // namespace troupe::detail
