// SPDX-License-Identifier: BSD-3-Clause
#include "home_operations.hpp"

#include "troupe/detail/guarded_memory.hpp"
#include "troupe/error.hpp"
#include "troupe/log.hpp"

#include "barrier_arrival.hpp"
#include "far_queue.hpp"
#include "object_lock.hpp"
#include "robust_lock_fast.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstring>
#include <exception>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

struct operation_on {
  home_thread& as;
  lent_here& on;
  far_op what;
  input_archive& in;
  output_archive& out;

  template <class T>
  [[nodiscard]] T argument() {
    T read{};
    in(read);
    return read;
  }
  template <class T>
  void answer(const T& result) const {
    out(result);
  }
  /// All of them were read.
  void begin() const { in.finish(typeid(far_op)); }
  [[noreturn]] void refuse() const {
    throw error{errc::protocol_error, task_ran::no,
                "there is no operation " + std::to_string(static_cast<unsigned>(what)) + " of a " +
                    std::string{to_string(on.object->kind())}};
  }
  [[nodiscard]] deadline read_deadline() {
    const auto left = argument<std::int64_t>();
    return left < 0 ? std::nullopt : deadline_after(std::chrono::nanoseconds{left});
  }
};

/// `wait(duration)` with what came as the time that is left.
template <class Wait>
auto wait_as_long(std::int64_t left, Wait wait) {
  return left < 0 ? wait(std::chrono::nanoseconds::max()) : wait(std::chrono::nanoseconds{left});
}

/// Takes the lock of a value or an array for one operation, or for a guard.
void lock_data(region& object) {
  if (acquire_object(object, std::nullopt) == lock_result::own) {
    throw_locked_already("troupe: this thread has a guard of this value or array already");
  }
}

class locked_data {
 public:
  explicit locked_data(region& object) : object_{object} { lock_data(object); }
  ~locked_data() { release_owned(object_.lock()); }
  locked_data(const locked_data&) = delete;
  locked_data& operator=(const locked_data&) = delete;

 private:
  region& object_;
};

// ---- values and arrays -------------------------------------------------------------------------

template <class Number>
Number step(std::atomic_ref<Number> on, atomic_step what, Number operand, Number expected) {
  switch (what) {
    case atomic_step::load:
      return on.load();
    case atomic_step::store:
    case atomic_step::exchange:
      return on.exchange(operand);
    case atomic_step::compare:
      on.compare_exchange_strong(expected, operand);
      return expected;
    case atomic_step::add:
      return on.fetch_add(operand);
    case atomic_step::sub:
      return on.fetch_sub(operand);
    default:
      break;
  }
  if constexpr (std::integral<Number>) {
    switch (what) {
      case atomic_step::bit_and:
        return on.fetch_and(operand);
      case atomic_step::bit_or:
        return on.fetch_or(operand);
      case atomic_step::bit_xor:
        return on.fetch_xor(operand);
      default:
        break;
    }
  }
  throw error{errc::protocol_error, task_ran::no, "there is no such step on a value"};
}

template <class Number>
std::uint64_t step_on(region& object, atomic_step what, std::uint64_t operand,
                      std::uint64_t expected) {
  Number given{};
  Number compared{};
  std::memcpy(&given, &operand, sizeof given);
  std::memcpy(&compared, &expected, sizeof compared);
  const Number before =
      step(std::atomic_ref{*reinterpret_cast<Number*>(object.payload())}, what, given, compared);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &before, sizeof before);
  return bits;
}

void step_on_value(operation_on& op) {
  const auto what = static_cast<atomic_step>(op.argument<std::uint8_t>());
  const bool floating = op.argument<bool>();
  const std::size_t bytes = op.argument<std::uint8_t>();
  const auto operand = op.argument<std::uint64_t>();
  const auto expected = op.argument<std::uint64_t>();
  op.begin();
  region& object = *op.on.object;
  if (object.kind() != object_kind::value || object.payload_bytes() != bytes) {
    op.refuse();
  }
  // Other steps than these look at the bytes, whatever they mean.
  const bool counts = what == atomic_step::add || what == atomic_step::sub;
  const auto run = [&]<class Number>() { return step_on<Number>(object, what, operand, expected); };
  if (floating && counts) {
    switch (bytes) {
      case 4:
        return op.answer(run.operator()<float>());
      case 8:
        return op.answer(run.operator()<double>());
      default:
        op.refuse();
    }
  }
  switch (bytes) {
    case 1:
      return op.answer(run.operator()<std::uint8_t>());
    case 2:
      return op.answer(run.operator()<std::uint16_t>());
    case 4:
      return op.answer(run.operator()<std::uint32_t>());
    case 8:
      return op.answer(run.operator()<std::uint64_t>());
    default:
      op.refuse();
  }
}

void exchange_data(operation_on& op) {
  const bool wanted = op.argument<bool>();
  const bool given = op.argument<bool>();
  region& object = *op.on.object;
  const std::size_t bytes = object.payload_bytes();
  const std::byte* const from = given ? op.in.skip(bytes, typeid(region)) : nullptr;
  op.begin();
  const locked_data held{object};
  if (wanted) {
    op.out.write(object.payload(), bytes);
  }
  if (from != nullptr) {
    std::memcpy(object.payload(), from, bytes);
  }
}

void unlock_data(operation_on& op) {
  region& object = *op.on.object;
  const bool recovered = op.argument<bool>();
  const auto at = op.argument<std::uint64_t>();
  const std::size_t bytes = op.in.read_exact_size(1, typeid(region));
  const std::byte* const from = op.in.skip(bytes, typeid(region));
  op.begin();
  if (at > object.payload_bytes() || bytes > object.payload_bytes() - at) {
    op.refuse();
  }
  if (!owned_by_caller(object.lock())) {
    throw_not_locked("troupe: a guard that this thread does not have");
  }
  if (bytes != 0) {
    std::memcpy(object.payload() + at, from, bytes);
  }
  if (recovered) {
    object.lock().inherited.store(0, std::memory_order_relaxed);
  }
  op.as.gave(op.on.object);
  release_owned(object.lock());
}

void perform_on(operation_on& op, std::monostate /*data*/) {
  switch (op.what) {
    case far_op::step:
      return step_on_value(op);
    case far_op::exchange:
      return exchange_data(op);
    case far_op::lock_data: {
      op.begin();
      region& object = *op.on.object;
      lock_data(object);
      op.as.took(op.on.object);
      op.out(object.lock().inherited.load(std::memory_order_relaxed) != 0);
      return op.out.write(object.payload(), object.payload_bytes());
    }
    case far_op::unlock_data:
      return unlock_data(op);
    default:
      op.refuse();
  }
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
    case far_op::lock:
      op.begin();
      lock.lock();
      return op.as.took(op.on.object);
    case far_op::try_lock:
      op.begin();
      return answer(lock.try_lock());
    case far_op::lock_for: {
      const auto left = op.argument<std::int64_t>();
      op.begin();
      return answer(wait_as_long(left, [&](auto timeout) { return lock.try_lock_for(timeout); }));
    }
    case far_op::unlock:
      op.begin();
      lock.unlock();
      return op.as.gave(op.on.object);
    case far_op::inherited:
      op.begin();
      return op.answer(lock.inherited());
    case far_op::recovered:
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
    case far_op::acquire: {
      const auto left = op.argument<std::int64_t>();
      op.begin();
      return op.answer(
          wait_as_long(left, [&](auto timeout) { return semaphore.try_acquire_for(timeout); }));
    }
    case far_op::release: {
      const auto count = op.argument<std::int64_t>();
      op.begin();
      return semaphore.release(static_cast<std::ptrdiff_t>(count));
    }
    case far_op::count:
      op.begin();
      return op.answer(static_cast<std::int64_t>(semaphore.value()));
    default:
      op.refuse();
  }
}

void perform_on(operation_on& op, event& flag) {
  switch (op.what) {
    case far_op::set:
      op.begin();
      return flag.set();
    case far_op::clear:
      op.begin();
      return flag.clear();
    case far_op::is_set:
      op.begin();
      return op.answer(flag.is_set());
    case far_op::wait: {
      const auto left = op.argument<std::int64_t>();
      op.begin();
      return op.answer(wait_as_long(left, [&](auto timeout) { return flag.wait_for(timeout); }));
    }
    default:
      op.refuse();
  }
}

bool wait_with(condition& on, home_handle& with, std::int64_t left) {
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
    case far_op::wait_with: {
      const auto mutex_id = op.argument<std::uint64_t>();
      const auto left = op.argument<std::int64_t>();
      op.begin();
      const auto with = op.as.find(mutex_id);
      return op.answer(wait_with(on, with->handle, left));
    }
    case far_op::notify: {
      const auto count = op.argument<std::int64_t>();
      op.begin();
      return on.notify(static_cast<std::ptrdiff_t>(count));
    }
    case far_op::waiting:
      op.begin();
      return op.answer(std::uint64_t{on.waiting()});
    default:
      op.refuse();
  }
}

void perform_on(operation_on& op, barrier& on) {
  switch (op.what) {
    case far_op::arrive: {
      const deadline until = op.read_deadline();
      const bool has_action = op.argument<bool>();
      op.begin();
      std::function<void()> action;
      if (has_action) {
        action = [&] { op.as.let_act(op.on); };
      }
      return op.answer(std::uint64_t{arrive_here(*op.on.object, until, action)});
    }
    case far_op::abort:
      op.begin();
      return on.abort();
    case far_op::reset:
      op.begin();
      return on.reset();
    case far_op::parties:
      op.begin();
      return op.answer(std::uint64_t{on.parties()});
    case far_op::waiting:
      op.begin();
      return op.answer(std::uint64_t{on.waiting()});
    case far_op::broken:
      op.begin();
      return op.answer(on.broken());
    default:
      op.refuse();
  }
}

// ---- queues ------------------------------------------------------------------------------------

void put_items(operation_on& op, queue_core& queue) {
  const deadline until = op.read_deadline();
  std::vector<queue_item> items(far_queue::load_count(op.in));
  for (queue_item& item : items) {
    far_queue::load_bytes(op.in, item);
    item.cargo = op.as.load(op.in);
    queue.check_comparable(item);
  }
  op.begin();
  std::size_t stored = 0;
  const queue_answer answer = queue.put(items, stored, until);
  op.out(static_cast<std::uint8_t>(answer), std::uint64_t{stored});
}

void get_items(operation_on& op, queue_core& queue) {
  const deadline until = op.read_deadline();
  const auto most = op.argument<std::uint64_t>();
  op.begin();
  std::vector<queue_item> items;
  const queue_answer answer =
      queue.get(items, std::clamp<std::uint64_t>(most, 1, far_queue::most_items), until);
  // Each as it will go, as one with a handle that cannot leave this machine must not cost others.
  std::vector<std::pair<const queue_item*, byte_buffer>> sent;
  std::exception_ptr refused;
  for (const queue_item& item : items) {
    try {
      byte_buffer cargo;
      output_archive ar{cargo};
      op.as.save(ar, item.cargo);
      sent.emplace_back(&item, std::move(cargo));
    } catch (const error& why) {
      // As with one that does not decode: it is lost, and done.
      refused = std::current_exception();
      queue.task_done();
      log(log_level::warning,
          std::string{"troupe: an item of a queue was lost: another machine took it: "} +
              why.what());
    }
  }
  if (sent.empty() && refused != nullptr) {
    std::rethrow_exception(refused);
  }
  op.out(static_cast<std::uint8_t>(answer));
  op.out.write_size(sent.size());
  for (const auto& [item, cargo] : sent) {
    far_queue::save_bytes(op.out, *item);
    op.out.write(cargo.data(), cargo.size());
  }
}

void perform_on(operation_on& op, const std::shared_ptr<queue_core>& queue) {
  switch (op.what) {
    case far_op::put:
      return put_items(op, *queue);
    case far_op::get:
      return get_items(op, *queue);
    case far_op::task_done:
      op.begin();
      return queue->task_done();
    case far_op::join: {
      const deadline until = op.read_deadline();
      op.begin();
      return op.answer(queue->join(until));
    }
    case far_op::close:
      op.begin();
      return queue->close();
    case far_op::is_closed:
      op.begin();
      return op.answer(queue->is_closed());
    case far_op::size:
      op.begin();
      return op.answer(std::uint64_t{queue->size()});
    case far_op::capacity:
      op.begin();
      return op.answer(std::uint64_t{queue->capacity()});
    case far_op::storage_bytes:
      op.begin();
      return op.answer(std::uint64_t{queue->storage_bytes()});
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
  const cargo_list cargo{object};
  const cargo_unloading scope{cargo};
  return decode<Handle>(bytes.bytes());
}

}  // namespace

home_thread::~home_thread() = default;

home_handle make_home_handle(const lent_here& of) {
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
      return queue_core::assemble(of.object, of.storage, of.socket,
                                  {.kind = object.kind(),
                                   .type_tag = object.type_tag(),
                                   .before = object.kind() == object_kind::priority_queue
                                                 ? known_order::find(object.type_tag())
                                                 : nullptr});
    default:
      return std::monostate{};
  }
}

void perform(home_thread& as, lent_here& on, far_op what, input_archive& in, output_archive& out) {
  operation_on op{as, on, what, in, out};
  std::visit([&](auto& handle) { perform_on(op, handle); }, on.handle);
}

}  // namespace troupe::detail
