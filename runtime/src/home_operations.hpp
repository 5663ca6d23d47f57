// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/barrier.hpp"
#include "troupe/condition.hpp"
#include "troupe/detail/queue_core.hpp"
#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/semaphore.hpp"

#include "far_end.hpp"

#include <cstdint>
#include <memory>
#include <variant>

// What is done at home to an object, as another machine asked.
namespace troupe::detail {

/// A handle as a user here has one; nothing for values and arrays, whose types are not known.
using home_handle =
    std::variant<std::monostate, mutex, recursive_mutex, semaphore, bounded_semaphore, event,
                 condition, barrier, std::shared_ptr<queue_core>>;

/// An object that is lent to a remote process.
struct lent_here {
  std::shared_ptr<region> object;
  process_slot* slot = nullptr;  ///< of the session
  home_handle handle = {};
  std::shared_ptr<const cargo> storage = nullptr;  ///< of a queue
  std::shared_ptr<const cargo> socket = nullptr;
  std::uint64_t times = 0;  ///< how often it was lent and not given back
};

/// The deputy in which an operation runs.
class home_thread {
 public:
  home_thread() = default;
  home_thread(const home_thread&) = delete;
  home_thread& operator=(const home_thread&) = delete;
  virtual ~home_thread();

  /// Another object of the session. Throws error{protocol_error} if there is none.
  [[nodiscard]] virtual std::shared_ptr<lent_here> find(std::uint64_t id) = 0;
  /// It has the object's lock, or one level of it, from now on, or no more.
  virtual void took(const std::shared_ptr<region>& lock) = 0;
  virtual void gave(const std::shared_ptr<region>& lock) noexcept = 0;
  /// Lets the remote thread call the action of a barrier. Throws if that threw.
  virtual void let_act(const lent_here& barrier) = 0;
  virtual void save(output_archive& ar, const cargo_list& cargo) = 0;
  [[nodiscard]] virtual cargo_list load(input_archive& ar) = 0;
};

/// A handle of an object that is here, made as if it had arrived.
[[nodiscard]] home_handle make_home_handle(const lent_here& of);

/// Does it, and writes the result.
///
/// @throws what the operation throws; error{protocol_error} for what is none.
void perform(home_thread& as, lent_here& on, far_op what, input_archive& in, output_archive& out);

}  // namespace troupe::detail
