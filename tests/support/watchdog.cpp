// SPDX-License-Identifier: BSD-3-Clause
#include "support/watchdog.hpp"

#include "support/processes.hpp"

#include <condition_variable>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <utility>

namespace troupe::test {

watchdog::watchdog(std::chrono::milliseconds limit, std::string what)
    : thread_{[limit, what = std::move(what)](const std::stop_token& stop) {
        std::mutex mutex;
        std::condition_variable_any called_off;
        std::unique_lock lock{mutex};
        // Only the stop token notifies: the predicate stays false until then.
        called_off.wait_for(lock, stop, limit, [] { return false; });
        if (stop.stop_requested()) {
          return;
        }
        std::cerr << "watchdog: " << what << " still runs after " << limit.count()
                  << " ms; this is what our processes do:\n"
                  << describe_our_processes() << std::flush;
        std::abort();
      }} {}

}  // namespace troupe::test
