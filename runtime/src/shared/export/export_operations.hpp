// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/barrier.hpp"
#include "troupe/condition.hpp"
#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/semaphore.hpp"

#include "shared/queue/local_queue.hpp"
#include "shared/remote/imported_object.hpp"

#include <cstdint>
#include <memory>
#include <variant>

// What is done at the exporter to an object, as another machine asked.
namespace troupe::detail {

/// A handle as a user here has it; nothing for values and arrays, whose types are not known.
using export_handle =
    std::variant<std::monostate, mutex, recursive_mutex, semaphore, bounded_semaphore, event,
                 condition, barrier, std::shared_ptr<local_queue>>;

/// An object that is exported to a remote process.
struct exported_here {
  std::shared_ptr<region> object;
  process_slot* slot = nullptr;  ///< of the session
  export_handle handle = {};
  std::shared_ptr<const attachment> storage = nullptr;  ///< of a queue
  std::shared_ptr<const attachment> socket = nullptr;
  std::uint64_t times = 0;  ///< how often it was exported and not given back
};

/// The proxy in which an operation runs.
class export_thread {
 public:
  export_thread() = default;
  export_thread(const export_thread&) = delete;
  export_thread& operator=(const export_thread&) = delete;
  virtual ~export_thread();

  /// Another object of the session. Throws error{protocol_error} if there is none.
  [[nodiscard]] virtual std::shared_ptr<exported_here> find(std::uint64_t id) = 0;
  /// It has the object's lock, or one level of it, from now on, or no more.
  virtual void took(const std::shared_ptr<region>& lock) = 0;
  virtual void gave(const std::shared_ptr<region>& lock) noexcept = 0;
  /// Lets the remote thread call the action of a barrier. Throws if that threw.
  virtual void let_act(const exported_here& barrier) = 0;
  virtual void save(output_archive& ar, const attachment_list& attachments) = 0;
  [[nodiscard]] virtual attachment_list load(input_archive& ar) = 0;
};

/// A handle of an object that is here, made as if it had arrived.
[[nodiscard]] export_handle make_export_handle(const exported_here& of);

/// Does it, and writes the result.
///
/// @throws what the operation throws; error{protocol_error} for what is none.
void perform(export_thread& as, exported_here& on, remote_op what, input_archive& in,
             output_archive& out);

}  // namespace troupe::detail
