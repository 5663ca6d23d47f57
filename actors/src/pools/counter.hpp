// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <cstdint>

namespace troupe::detail {

/// A number with one writer at a time; any thread may read it at any time.
class counter {
 public:
  counter& operator=(std::uint64_t value) noexcept {
    value_.store(value, std::memory_order_relaxed);
    return *this;
  }
  counter& operator+=(std::uint64_t more) noexcept { return *this = *this + more; }
  counter& operator-=(std::uint64_t less) noexcept { return *this = *this - less; }
  counter& operator++() noexcept { return *this += 1; }
  counter& operator--() noexcept { return *this -= 1; }
  operator std::uint64_t() const noexcept {  // NOLINT(google-explicit-constructor): a number
    return value_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace troupe::detail
