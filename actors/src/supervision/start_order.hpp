// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "supervision/child_spec.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace troupe::detail {

/// The order in which children start, as indices.
struct start_order {
  std::vector<std::size_t> order;                ///< without children on a cycle or behind one
  std::vector<std::vector<std::size_t>> cycles;  ///< each begins with its lowest index
};

/// Orders children so that each comes after those that its `after` names, and otherwise in the
/// order of adding. Names that no child has, and a child's own, are left out; of two children with
/// one name the first is meant.
///
/// n children with m names behind them take (n + m) log n steps; with cycles n (n + m).
[[nodiscard]] start_order order_of(const std::vector<child_spec>& specs);

}  // namespace troupe::detail
