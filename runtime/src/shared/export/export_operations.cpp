// SPDX-License-Identifier: BSD-3-Clause
#include "shared/export/export_operations.hpp"

#include "troupe/error.hpp"

#include "shared/export/export_operation.hpp"
#include "shared/sync/barrier_operations.hpp"

#include <chrono>
#include <concepts>
#include <condition_variable>
#include <functional>

namespace troupe::detail {
namespace {

/// `wait(duration)` with what came as the time that is left.
template <class Wait>
auto wait_as_long(std::int64_t left, Wait wait) {
  return left < 0 ? wait(std::chrono::nanoseconds::max()) : wait(std::chrono::nanoseconds{left});
}

void perform_on(operation_on& op, std::monostate /*data*/) {
  perform_on_data(op);
}

void perform_on(operation_on& op, const std::shared_ptr<local_queue>& queue) {
  perform_on_queue(op, *queue);
}

// ---- locks -------------------------------------------------------------------------------------

template <class Lock>
  requires std::derived_from<Lock, lock_handle>
void perform_on(operation_on& op, Lock& lock) {
  const auto answer = [&](bool taken) {
    if (taken) {
      op.as.took(op.on.object);
    }
    op.out(taken);
  };
  switch (op.what) {
    case remote_op::lock:
      op.begin();
      lock.lock();
      return op.as.took(op.on.object);
    case remote_op::try_lock:
      op.begin();
      return answer(lock.try_lock());
    case remote_op::lock_for: {
      const auto left = op.argument<std::int64_t>();
      op.begin();
      return answer(wait_as_long(left, [&](auto timeout) { return lock.try_lock_for(timeout); }));
    }
    case remote_op::unlock:
      op.begin();
      lock.unlock();
      return op.as.gave(op.on.object);
    case remote_op::inherited:
      op.begin();
      return op.answer(lock.inherited());
    case remote_op::recovered:
      op.begin();
      return lock.recovered();
    default:
      op.refuse();
  }
}

// ---- semaphores, events, conditions, barriers --------------------------------------------------

template <class Semaphore>
  requires std::derived_from<Semaphore, semaphore_handle>
void perform_on(operation_on& op, Semaphore& semaphore) {
  switch (op.what) {
    case remote_op::acquire: {
      const auto left = op.argument<std::int64_t>();
      op.begin();
      return op.answer(
          wait_as_long(left, [&](auto timeout) { return semaphore.try_acquire_for(timeout); }));
    }
    case remote_op::release: {
      const auto count = op.argument<std::int64_t>();
      op.begin();
      return semaphore.release(static_cast<std::ptrdiff_t>(count));
    }
    case remote_op::count:
      op.begin();
      return op.answer(static_cast<std::int64_t>(semaphore.value()));
    default:
      op.refuse();
  }
}

void perform_on(operation_on& op, event& flag) {
  switch (op.what) {
    case remote_op::set:
      op.begin();
      return flag.set();
    case remote_op::clear:
      op.begin();
      return flag.clear();
    case remote_op::is_set:
      op.begin();
      return op.answer(flag.is_set());
    case remote_op::wait: {
      const auto left = op.argument<std::int64_t>();
      op.begin();
      return op.answer(wait_as_long(left, [&](auto timeout) { return flag.wait_for(timeout); }));
    }
    default:
      op.refuse();
  }
}

bool wait_with(condition& on, export_handle& with, std::int64_t left) {
  const auto wait = [&](auto& lock) {
    return wait_as_long(left, [&](auto timeout) {
      return on.wait_for(lock, timeout) == std::cv_status::no_timeout;
    });
  };
  if (auto* const lock = std::get_if<mutex>(&with)) {
    return wait(*lock);
  }
  if (auto* const lock = std::get_if<recursive_mutex>(&with)) {
    return wait(*lock);
  }
  throw error{errc::protocol_error, task_ran::no, "a condition waits with a mutex only"};
}

void perform_on(operation_on& op, condition& on) {
  switch (op.what) {
    case remote_op::wait_with: {
      const auto mutex_id = op.argument<std::uint64_t>();
      const auto left = op.argument<std::int64_t>();
      op.begin();
      const auto with = op.as.find(mutex_id);
      return op.answer(wait_with(on, with->handle, left));
    }
    case remote_op::notify: {
      const auto count = op.argument<std::int64_t>();
      op.begin();
      return on.notify(static_cast<std::ptrdiff_t>(count));
    }
    case remote_op::waiting:
      op.begin();
      return op.answer(std::uint64_t{on.waiting()});
    default:
      op.refuse();
  }
}

void perform_on(operation_on& op, barrier& on) {
  switch (op.what) {
    case remote_op::arrive: {
      const deadline until = op.read_deadline();
      const bool has_action = op.argument<bool>();
      op.begin();
      std::function<void()> action;
      if (has_action) {
        action = [&] { op.as.let_act(op.on); };
      }
      return op.answer(std::uint64_t{
          op.on.object->operations<barrier_operations>().arrive(*op.on.object, until, action)});
    }
    case remote_op::abort:
      op.begin();
      return on.abort();
    case remote_op::reset:
      op.begin();
      return on.reset();
    case remote_op::parties:
      op.begin();
      return op.answer(std::uint64_t{on.parties()});
    case remote_op::waiting:
      op.begin();
      return op.answer(std::uint64_t{on.waiting()});
    case remote_op::broken:
      op.begin();
      return op.answer(on.broken());
    default:
      op.refuse();
  }
}

template <class Handle>
Handle arrived(const std::shared_ptr<region>& object) {
  byte_buffer bytes;
  output_archive to{bytes};
  to(object->id());
  if constexpr (std::same_as<Handle, barrier>) {
    to(bound_call{});
  }
  const attachment_list attachments{object};
  const attachment_source scope{attachments};
  return decode<Handle>(bytes.bytes());
}

}  // namespace

export_thread::~export_thread() = default;

export_handle make_export_handle(const exported_here& of) {
  const region& object = *of.object;
  switch (object.kind()) {
    case object_kind::mutex:
      return arrived<mutex>(of.object);
    case object_kind::recursive_mutex:
      return arrived<recursive_mutex>(of.object);
    case object_kind::semaphore:
      return arrived<semaphore>(of.object);
    case object_kind::bounded_semaphore:
      return arrived<bounded_semaphore>(of.object);
    case object_kind::event:
      return arrived<event>(of.object);
    case object_kind::condition:
      return arrived<condition>(of.object);
    case object_kind::barrier:
      return arrived<barrier>(of.object);
    case object_kind::queue:
    case object_kind::lifo_queue:
    case object_kind::priority_queue:
      return std::make_shared<local_queue>(
          of.object, of.storage, of.socket,
          queue_spec{.kind = object.kind(),
                     .type_tag = object.type_tag(),
                     .before = object.kind() == object_kind::priority_queue
                                   ? known_order::find(object.type_tag())
                                   : nullptr});
    default:
      return std::monostate{};
  }
}

void perform(export_thread& as, exported_here& on, remote_op what, input_archive& in,
             output_archive& out) {
  operation_on op{as, on, what, in, out};
  std::visit([&](auto& handle) { perform_on(op, handle); }, on.handle);
}

}  // namespace troupe::detail
