// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/descriptor.hpp"

#include "os/reactor.hpp"

#include <functional>

namespace troupe::detail {

/// Turns SIGINT and SIGTERM into calls on the reactor's thread. One at a time in a process.
class stop_signals {
 public:
  /// Calls `arrived(signal, count)`; `count` is 1 for the first, of both signals together. After
  /// the second the dispositions are as before, so that a third does what it would have done
  /// without this.
  ///
  /// @throws error{resource_exhausted}.
  stop_signals(reactor& loop, std::function<void(int signal, int count)> arrived);
  /// The dispositions are as before. Not before the reactor is gone.
  ~stop_signals();
  stop_signals(const stop_signals&) = delete;
  stop_signals& operator=(const stop_signals&) = delete;

 private:
  void read();
  void restore() noexcept;

  std::function<void(int, int)> arrived_;
  descriptor reading_;
  descriptor writing_;
  int count_ = 0;
};

}  // namespace troupe::detail
