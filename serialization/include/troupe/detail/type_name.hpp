// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

#include <string>
#include <typeinfo>

namespace troupe::detail {

/// The name people write: demangled, without inline namespaces, at most 4 KiB.
[[nodiscard]] std::string type_name(const std::type_info& type);

/// The type of the exception being handled, also when it is no class; null outside a handler.
[[nodiscard]] const std::type_info* current_exception_type() noexcept;

}  // namespace troupe::detail
