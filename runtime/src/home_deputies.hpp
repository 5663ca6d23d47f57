// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "lending.hpp"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <unordered_map>
#include <vector>

namespace troupe::detail {

/// The threads that do what the threads of one remote process ask for.
///
/// A deputy belongs to a remote thread while an operation runs or it has locks, and to nobody else
/// meanwhile. Locks know their owners by thread, so a deputy that has to go just ends, and all its
/// locks are inherited.
///
/// @threads any.
class home_deputies {
 public:
  using send_answer = std::function<void(std::span<const std::byte> answer)>;
  home_deputies(lending& lent, send_answer send);
  ~home_deputies();
  home_deputies(const home_deputies&) = delete;
  home_deputies& operator=(const home_deputies&) = delete;

  /// `message` is a whole request, which names this number, thread, object and operation.
  ///
  /// @throws error{resource_exhausted} if there are too many deputies; error{protocol_error} if the
  ///   thread has not waited for its last answer.
  void run(std::uint64_t number, std::uint64_t thread, std::span<const std::byte> message);
  void thread_ended(std::uint64_t thread) noexcept;
  /// Dismisses all, and waits until they have gone.
  void end() noexcept;

  /// So many remote threads may wait or have locks at once.
  static constexpr std::size_t most = 512;

 private:
  class deputy;
  void work(deputy& me);
  void reap(bool all) noexcept;

  lending& lent_;
  send_answer send_;
  std::mutex mutex_;
  bool over_ = false;                                // guarded by mutex_
  std::list<std::unique_ptr<deputy>> all_;           // guarded by mutex_
  std::unordered_map<std::uint64_t, deputy*> busy_;  // guarded by mutex_; by remote thread
  std::vector<deputy*> idle_;                        // guarded by mutex_
};

/// An answer to nobody's operation but a message that is none.
[[nodiscard]] std::vector<std::byte> failed_answer(std::uint64_t number,
                                                   const std::exception_ptr& why);

}  // namespace troupe::detail
