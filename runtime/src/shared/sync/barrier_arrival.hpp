// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"
#include "troupe/detail/region.hpp"

#include <cstddef>
#include <functional>

namespace troupe::detail {

/// `barrier::arrive_and_wait` with whatever is to be called when all have come, if anything is.
std::size_t arrive_here(region& object, const deadline& until, const std::function<void()>& action);

}  // namespace troupe::detail
