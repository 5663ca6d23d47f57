// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"
#include "troupe/error.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace troupe::detail {

/// What a future and whoever fulfils it share: no types, bytes only. Fulfilled exactly once.
class future_state : public std::enable_shared_from_this<future_state> {
 public:
  using callback = std::function<void(future_state&)>;
  /// Runs callbacks one after the other, never on the thread that fulfils.
  using executor = std::function<void(std::function<void()>)>;

  future_state() = default;
  future_state(const future_state&) = delete;
  future_state& operator=(const future_state&) = delete;
  virtual ~future_state();

  [[nodiscard]] bool done() const noexcept {
    return word_.load(std::memory_order_acquire) == fulfilled;  // partner: finish
  }
  /// False: the deadline passed first.
  bool wait(const deadline& until) const noexcept;
  /// Null: there is a value. Only when done.
  [[nodiscard]] const std::shared_ptr<const failure>& failed() const noexcept { return failure_; }
  /// Throws the failure as a fresh exception, if there is one.
  void rethrow_failure() const;

  /// The encoded values, in order: one for a call, one an item for a map. Only when done.
  virtual void each_value(const std::function<void(std::span<const std::byte>)>& visit) const = 0;
  /// True: it will never run. False: it already ended, or runs and was asked to stop; with `force`
  /// its worker is killed after the grace time.
  virtual bool cancel(bool force) = 0;
  [[nodiscard]] virtual bool running() const = 0;

  /// Called once, through the state's executor, when done or at once if it is.
  void when_done(callback function);

 protected:
  /// Where callbacks run; the fulfilling side sets it before the state is shared.
  [[nodiscard]] virtual executor callbacks() const = 0;
  /// Fulfils. The caller has stored the values already, and makes sure it happens once.
  void finish(std::shared_ptr<const failure> failed) noexcept;

 private:
  static constexpr std::uint32_t pending = 0;
  static constexpr std::uint32_t awaited = 1;  // pending, and somebody sleeps on the word
  static constexpr std::uint32_t fulfilled = 2;

  void run(callback function);

  mutable std::atomic<std::uint32_t> word_{pending};
  /// The handover of the first thread that waits without a deadline; see `wait`.
  mutable std::atomic<int> waiter_{nobody};
  static constexpr int nobody = -1;
  static constexpr int too_late = -2;
  std::shared_ptr<const failure> failure_;
  std::mutex mutex_;
  std::vector<callback> callbacks_;  // guarded by mutex_
};

/// Encodes which failure `cancel`, `get` on nothing and friends throw.
[[noreturn]] void throw_no_state();
/// A throwing callback is reported, never fatal.
void report_callback(const std::exception_ptr& thrown) noexcept;
/// Rethrows what decoding a result threw, as result_decode_failed.
[[noreturn]] void throw_result_decode(const std::exception_ptr& thrown);

}  // namespace troupe::detail
