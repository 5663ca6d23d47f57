// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/error.hpp"

#include "shared/export/export_operations.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <typeinfo>

namespace troupe::detail {

/// One operation at the exporter, its arguments and its result.
struct operation_on {
  export_thread& as;
  exported_here& on;
  remote_op what;
  input_archive& in;
  output_archive& out;

  template <class T>
  [[nodiscard]] T argument() {
    T read{};
    in(read);
    return read;
  }
  template <class T>
  void answer(const T& result) const {
    out(result);
  }
  /// All of them were read.
  void begin() const { in.finish(typeid(remote_op)); }
  [[noreturn]] void refuse() const {
    throw error{errc::protocol_error, task_ran::no,
                "there is no operation " + std::to_string(static_cast<unsigned>(what)) + " of a " +
                    std::string{to_string(on.object->kind())}};
  }
  [[nodiscard]] deadline read_deadline() {
    const auto left = argument<std::int64_t>();
    return left < 0 ? std::nullopt : deadline_after(std::chrono::nanoseconds{left});
  }
};

/// Those of values and arrays.
void perform_on_data(operation_on& op);
/// Those of queues.
void perform_on_queue(operation_on& op, local_queue& queue);

}  // namespace troupe::detail
