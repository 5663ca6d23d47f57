// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/thread_safety.hpp"
#include "shared/export/exporting.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <span>
#include <thread>
#include <unordered_map>
#include <vector>

namespace troupe::detail {

/// The threads that do what the threads of one remote process ask for.
///
/// A proxy belongs to one remote thread while an operation runs or it has locks. Locks know their
/// owners by thread, so a proxy that has to go just ends, and all its locks are inherited.
///
/// @threads any.
class export_proxies {
 public:
  using send_answer = std::function<void(std::span<const std::byte> answer)>;
  export_proxies(exporting& exported, send_answer send);
  ~export_proxies();
  export_proxies(const export_proxies&) = delete;
  export_proxies& operator=(const export_proxies&) = delete;

  /// `message` is a whole request, which names this number, thread, object and operation.
  ///
  /// @throws error{resource_exhausted} if there are too many proxies; error{protocol_error} if the
  ///   thread has not waited for its last answer.
  void run(std::uint64_t number, std::uint64_t thread, std::span<const std::byte> message);
  void thread_ended(std::uint64_t thread) noexcept;
  /// Dismisses all, and waits until they have gone.
  void end() noexcept;

  /// So many remote threads may wait or have locks at once.
  static constexpr std::size_t most = 512;

 private:
  class proxy;
  void work(proxy& me);
  void reap(bool all) noexcept;

  exporting& exported_;
  send_answer send_;
  guarded_mutex mutex_;
  bool over_ TROUPE_GUARDED_BY(mutex_) = false;
  std::list<std::unique_ptr<proxy>> all_ TROUPE_GUARDED_BY(mutex_);
  std::unordered_map<std::uint64_t, proxy*> busy_ TROUPE_GUARDED_BY(mutex_);  // by remote thread
  std::vector<proxy*> idle_ TROUPE_GUARDED_BY(mutex_);
};

/// An answer to a message from which no operation could be read.
[[nodiscard]] std::vector<std::byte> failed_answer(std::uint64_t number,
                                                   const std::exception_ptr& why);

}  // namespace troupe::detail
