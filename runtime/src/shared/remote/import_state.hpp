// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "shared/remote/exported_object.hpp"
#include "shared/remote/imported_object.hpp"
#include "shared/remote/object_sink.hpp"

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

namespace troupe::detail {

/// What handles of one exporter have in common; lives as long as any of them.
class import_state : public std::enable_shared_from_this<import_state> {
 public:
  explicit import_state(std::unique_ptr<object_sink> to_exporter);

  [[nodiscard]] remote_answer call(byte_buffer& request);
  /// A message without an answer; nothing happens if there is no link any more.
  void post(remote_message what, std::uint64_t thread, std::uint64_t object = 0,
            std::uint64_t count = 0) noexcept;
  void thread_ended(std::uint64_t thread) noexcept { post(remote_message::thread_ended, thread); }
  void receive(std::span<const std::byte> message);
  void end() noexcept;

  void save(output_archive& ar, const attachment_list& attachments);
  [[nodiscard]] attachment_list load(input_archive& ar);

 private:
  struct waiting_thread {
    std::condition_variable came;
    std::vector<std::byte> answer;
    bool answered = false;
    bool lost = false;
  };
  /// The number it went with; 0: it did certainly not go.
  std::uint64_t send(byte_buffer& message, waiting_thread* for_answer);
  [[nodiscard]] std::shared_ptr<region> arrived(input_archive& ar, const exported_object& one);

  std::mutex sending_;
  std::unique_ptr<object_sink> link_;  // guarded by sending_
  std::uint64_t last_number_ = 0;      // guarded by sending_

  std::mutex mutex_;
  std::unordered_map<std::uint64_t, waiting_thread*> waiting_;  // guarded by mutex_; by number
  bool over_ = false;                                           // guarded by mutex_
  std::uint32_t forks_ = 0;

  std::mutex known_mutex_;
  std::unordered_map<std::uint64_t, std::weak_ptr<region>> known_;  // guarded by known_mutex_
};

}  // namespace troupe::detail
