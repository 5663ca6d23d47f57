// SPDX-License-Identifier: BSD-3-Clause
#include "pools/map_errors.hpp"

#include "troupe/error.hpp"
#include "troupe/log.hpp"

#include <string>

namespace troupe::detail {

std::exception_ptr not_submitted_in_time() {
  return std::make_exception_ptr(
      timeout_error{"troupe: the time was over before the whole input of the map was submitted: "
                    "the items from here on were dropped",
                    task_ran::no});
}

void throw_result_late() {
  throw timeout_error{
      "troupe: the next result of the map was not there in time: what had not begun is cancelled",
      task_ran::maybe};
}

void throw_input_reads_map() {
  throw error{errc::would_deadlock, task_ran::no,
              "troupe: the input of a map asked for a result of the same map, which would wait for "
              "itself for ever"};
}

void log_unread(const std::exception_ptr& why) noexcept {
  if (why == nullptr) {
    return;
  }
  try {
    std::rethrow_exception(why);
  } catch (const pool_closed&) {
    // Its executor was ended so that what had not begun was dropped.
  } catch (const std::exception& problem) {
    log(log_level::error,
        std::string{"not all items of a map ran, and its results are not read: "} + problem.what());
  } catch (...) {
    log(log_level::error, "not all items of a map ran, and its results are not read");
  }
}

}  // namespace troupe::detail
