// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/thread_safety.hpp"
#include "shared/remote/exported_object.hpp"
#include "shared/remote/imported_object.hpp"
#include "shared/remote/object_sink.hpp"

#include <cstdint>
#include <memory>
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
  /// Guarded by mutex_. No annotation: this struct does not know whose mutex_ that is.
  struct waiting_thread {
    guarded_condition came;
    std::vector<std::byte> answer;
    bool answered = false;
    bool lost = false;
  };
  /// The number it went with; 0: it did certainly not go.
  std::uint64_t send(byte_buffer& message, waiting_thread* for_answer);
  [[nodiscard]] std::shared_ptr<region> arrived(input_archive& ar, const exported_object& one);

  guarded_mutex sending_;
  const std::unique_ptr<object_sink> link_ TROUPE_PT_GUARDED_BY(sending_);
  std::uint64_t last_number_ TROUPE_GUARDED_BY(sending_) = 0;

  guarded_mutex mutex_;
  /// By number.
  std::unordered_map<std::uint64_t, waiting_thread*> waiting_ TROUPE_GUARDED_BY(mutex_);
  bool over_ TROUPE_GUARDED_BY(mutex_) = false;
  std::uint32_t forks_ = 0;

  guarded_mutex known_mutex_;
  std::unordered_map<std::uint64_t, std::weak_ptr<region>> known_ TROUPE_GUARDED_BY(known_mutex_);
};

}  // namespace troupe::detail
