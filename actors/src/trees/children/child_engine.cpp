// SPDX-License-Identifier: BSD-3-Clause
#include "trees/children/child_engine.hpp"

#include "troupe/error.hpp"

#include <exception>
#include <new>

namespace troupe::detail {

child_death death_of_start(const std::exception_ptr& why) {
  try {
    std::rethrow_exception(why);
  } catch (const error& problem) {
    switch (problem.code()) {
      case errc::resource_exhausted:
      case errc::spawn_failed:
        // Not the child's fault, and it may go away: the start is repeated after the backoff.
        return {end_cause::machine_memory, problem.what()};
      case errc::start_timeout:
        return {end_cause::start_limit, problem.what()};
      default:
        return {end_cause::threw, problem.what()};
    }
  } catch (const std::bad_alloc& problem) {
    return {end_cause::machine_memory, problem.what()};
  } catch (const std::exception& problem) {
    return {end_cause::threw, problem.what()};
  } catch (...) {  // of the user's: an initializer may throw anything
    return {end_cause::threw, "an exception of an unknown type"};
  }
}

}  // namespace troupe::detail
