// SPDX-License-Identifier: BSD-3-Clause
#include "pools/worker/stop_watcher.hpp"

#include "troupe/detail/futex.hpp"

#include "os/library_thread.hpp"

#include <optional>

namespace troupe::detail {

std::stop_token stop_watcher::token(std::uint64_t number) {
  const mutex_guard lock{mutex_};
  if (number != number_) {
    number_ = number;
    source_ = std::stop_source{};
  }
  if (!started_) {
    started_ = true;
    start_thread("troupe.stop", [this] { watch(); });
  }
  if (channel_.stop_requested_for() == number) {
    source_.request_stop();
  }
  return source_.get_token();
}

void stop_watcher::watch() {
  for (;;) {
    const std::uint32_t seen = channel_.stop_word().load();
    std::stop_source wanted{std::nostopstate};
    {
      const mutex_guard lock{mutex_};
      if (number_ != 0 && channel_.stop_requested_for() == number_) {
        wanted = source_;
      }
    }
    wanted.request_stop();  // may run the task's stop callbacks: not under the lock
    futex_wait(channel_.stop_word(), seen, std::nullopt, true);
  }
}

}  // namespace troupe::detail
