// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/guarded_memory.hpp"

#include "troupe/detail/archive.hpp"
#include "troupe/error.hpp"
#include "troupe/log.hpp"

#include "shared/core/object_lock.hpp"
#include "shared/core/robust_lock_fast.hpp"
#include "shared/remote/imported_object.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace troupe::detail {

/// The data here, and what it was when it came.
struct data_lock::remote_copy {
  explicit remote_copy(std::size_t size) : bytes{size} {}
  ~remote_copy() { ::operator delete(now, std::align_val_t{alignment}); }
  remote_copy(const remote_copy&) = delete;
  remote_copy& operator=(const remote_copy&) = delete;

  /// The most that a shared type has.
  static constexpr std::size_t alignment = 4096;
  std::size_t bytes;
  std::byte* now = static_cast<std::byte*>(
      ::operator new(std::max<std::size_t>(bytes, 1), std::align_val_t{alignment}));
  std::vector<std::byte> before;
  bool inherited = false;
  bool recovered = false;
};

void data_lock::delete_copy::operator()(remote_copy* copy) const noexcept {
  delete copy;
}

data_lock::data_lock(std::shared_ptr<region> object) : object_{std::move(object)} {
  if (object_->is_elsewhere()) [[unlikely]] {
    lock_remote();
    return;
  }
  if (acquire_object(*object_, std::nullopt) == lock_result::own) {
    throw_locked_already("troupe: this thread has a guard of this value or array already");
  }
  data_ = object_->payload();
}

data_lock::data_lock(data_lock&& other) noexcept = default;

data_lock::~data_lock() {
  if (object_ == nullptr) {
    return;
  }
  if (copy_ != nullptr) [[unlikely]] {
    unlock_remote();
    return;
  }
  release_owned(object_->lock());
}

bool data_lock::inherited() const noexcept {
  return copy_ != nullptr ? copy_->inherited
                          : object_->lock().inherited.load(std::memory_order_relaxed) != 0;
}

void data_lock::recovered() noexcept {
  if (copy_ != nullptr) {
    copy_->inherited = false;
    copy_->recovered = true;
  } else {
    object_->lock().inherited.store(0, std::memory_order_relaxed);
  }
}

void data_lock::lock_remote() {
  // First the memory: there must be none missing once the lock is held.
  copy_.reset(new remote_copy{object_->payload_bytes()});
  copy_->before.resize(copy_->bytes);
  const remote_answer answer = ask_remote(*object_, remote_op::lock_data);
  input_archive ar{answer.bytes()};
  ar.skip(answer_header_bytes, typeid(remote_answer));
  ar(copy_->inherited);
  ar.read(copy_->before.data(), copy_->bytes, typeid(data_lock));
  ar.finish(typeid(data_lock));
  std::copy(copy_->before.begin(), copy_->before.end(), copy_->now);
  data_ = copy_->now;
}

void data_lock::unlock_remote() noexcept {
  const std::span<const std::byte> now{copy_->now, copy_->bytes};
  const auto [first, first_before] = std::ranges::mismatch(now, copy_->before);
  std::size_t end = copy_->bytes;
  const auto begin = static_cast<std::size_t>(first - now.begin());
  while (end > begin && now[end - 1] == copy_->before[end - 1]) {
    --end;
  }
  try {
    remote_request request{*object_, remote_op::unlock_data};
    output_archive& ar = request.arguments();
    ar(copy_->recovered, static_cast<std::uint64_t>(begin));
    ar.write_size(end - begin);
    ar.write(now.data() + begin, end - begin);
    static_cast<void>(request.send());
  } catch (const std::exception& why) {
    // A destructor cannot say more. The next holder finds the lock inherited.
    log(log_level::warning, std::string{"troupe: the guard of a value or array on another machine "
                                        "could not be released there, its changes may be lost: "} +
                                why.what());
  }
}

std::uint64_t step_remote(const region& value, atomic_step what, bool floating, std::size_t bytes,
                          std::uint64_t operand, std::uint64_t expected) {
  return call_remote<std::uint64_t>(value, remote_op::step, static_cast<std::uint8_t>(what),
                                    floating, static_cast<std::uint8_t>(bytes), operand, expected);
}

void exchange_remote(const region& object, void* before, const void* desired) {
  const std::size_t bytes = object.payload_bytes();
  remote_request request{object, remote_op::exchange};
  output_archive& ar = request.arguments();
  ar(before != nullptr, desired != nullptr);
  if (desired != nullptr) {
    ar.write(desired, bytes);
  }
  const remote_answer answer = request.send();
  if (before != nullptr) {
    input_archive from{answer.bytes()};
    from.skip(answer_header_bytes, typeid(remote_answer));
    from.read(before, bytes, typeid(data_lock));
    from.finish(typeid(data_lock));
  }
}

std::size_t checked_bytes(bool negative, unsigned long long count, std::size_t element_bytes) {
  if (negative) {
    throw std::invalid_argument{"troupe: the number of elements of a shared array is negative"};
  }
  if (count >
      static_cast<unsigned long long>(std::numeric_limits<std::ptrdiff_t>::max()) / element_bytes) {
    throw std::length_error{"troupe: a shared array of " + std::to_string(count) +
                            " elements is larger than any memory"};
  }
  return static_cast<std::size_t>(count) * element_bytes;
}

void check_index(std::size_t index, std::size_t size) {
  if (index >= size) {
    throw std::out_of_range{"troupe: index " + std::to_string(index) + " of a shared array of " +
                            std::to_string(size)};
  }
}

void fail_partial_elements(const input_archive& ar, const std::type_info& handle) {
  ar.fail("its size is no whole number of elements", handle);
}

}  // namespace troupe::detail
