// SPDX-License-Identifier: BSD-3-Clause

// Imported values and arrays.

#include "troupe/error.hpp"
#include "troupe/log.hpp"

#include "shared/core/free_memory.hpp"
#include "shared/data/data_operations.hpp"
#include "shared/remote/imported_object.hpp"
#include "shared/remote/imported_operations.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <typeinfo>
#include <vector>

namespace troupe::detail {
namespace {

/// The data here, and what it was when it came.
class imported_copy final : public data_copy {
 public:
  explicit imported_copy(std::size_t size) : bytes{size} {}
  ~imported_copy() override { ::operator delete(now, std::align_val_t{alignment}); }
  imported_copy(const imported_copy&) = delete;
  imported_copy& operator=(const imported_copy&) = delete;

  /// The most that a shared type has.
  static constexpr std::size_t alignment = 4096;
  std::size_t bytes;
  std::byte* now = static_cast<std::byte*>(
      ::operator new(std::max<std::size_t>(bytes, 1), std::align_val_t{alignment}));
  std::vector<std::byte> before;
  bool inherited = false;
  bool recovered = false;
};

imported_copy& copy_of(const held_data& held) noexcept {
  return static_cast<imported_copy&>(*held.copy);
}

/// The size is what the exporter said. The kernel would give address space for any, and kill a
/// process when the pages are touched.
void check_memory(std::size_t bytes) {
  constexpr std::size_t looks_large = std::size_t{64} << 20;
  if (bytes >= looks_large && bytes > free_memory_bytes() / 2) {
    throw error{errc::resource_exhausted, task_ran::no,
                "troupe: there is no memory for the copies of a shared object of " +
                    std::to_string(bytes) + " bytes on another machine"};
  }
}

class imported_data final : public data_operations {
 public:
  held_data lock(region& object) const override;
  void unlock(region& object, held_data& held) const noexcept override;
  bool inherited(region& /*object*/, const held_data& held) const noexcept override {
    return copy_of(held).inherited;
  }
  void recovered(region& /*object*/, held_data& held) const noexcept override {
    copy_of(held).inherited = false;
    copy_of(held).recovered = true;
  }
  std::uint64_t step(region& object, const step_on_number& step) const override {
    return call_remote<std::uint64_t>(object, remote_op::step, static_cast<std::uint8_t>(step.what),
                                      step.is_floating, static_cast<std::uint8_t>(step.bytes),
                                      step.operand, step.expected);
  }
  void exchange(region& object, std::span<std::byte> before,
                std::span<const std::byte> desired) const override;
};

held_data imported_data::lock(region& object) const {
  // First the memory: there must be none missing once the lock is held.
  check_memory(object.payload_bytes());
  auto copy = std::make_unique<imported_copy>(object.payload_bytes());
  copy->before.resize(copy->bytes);
  const remote_answer answer = ask_remote(object, remote_op::lock_data);
  input_archive ar{answer.bytes()};
  ar.skip(answer_header_bytes, typeid(remote_answer));
  ar(copy->inherited);
  ar.read(copy->before.data(), copy->bytes, typeid(data_lock));
  ar.finish(typeid(data_lock));
  std::copy(copy->before.begin(), copy->before.end(), copy->now);
  std::byte* const bytes = copy->now;
  return {.bytes = bytes, .copy = std::move(copy)};
}

void imported_data::unlock(region& object, held_data& held) const noexcept {
  const imported_copy& copy = copy_of(held);
  const std::span<const std::byte> now{copy.now, copy.bytes};
  const auto [first, first_before] = std::ranges::mismatch(now, copy.before);
  std::size_t end = copy.bytes;
  const auto begin = static_cast<std::size_t>(first - now.begin());
  while (end > begin && now[end - 1] == copy.before[end - 1]) {
    --end;
  }
  try {
    remote_request request{object, remote_op::unlock_data};
    output_archive& ar = request.arguments();
    ar(copy.recovered, static_cast<std::uint64_t>(begin));
    ar.write_size(end - begin);
    ar.write(now.data() + begin, end - begin);
    static_cast<void>(request.send());
  } catch (const std::exception& why) {
    // A destructor cannot say more. The next holder finds the lock inherited.
    log(log_level::warning, std::string{"troupe: the guard of a value or array on another machine "
                                        "could not be released there, its changes may be lost: "} +
                                why.what());
  }
  held = {};
}

void imported_data::exchange(region& object, std::span<std::byte> before,
                             std::span<const std::byte> desired) const {
  remote_request request{object, remote_op::exchange};
  output_archive& ar = request.arguments();
  ar(!before.empty(), !desired.empty());
  ar.write(desired.data(), desired.size());
  const remote_answer answer = request.send();
  if (!before.empty()) {
    input_archive from{answer.bytes()};
    from.skip(answer_header_bytes, typeid(remote_answer));
    from.read(before.data(), before.size(), typeid(data_lock));
    from.finish(typeid(data_lock));
  }
}

}  // namespace

const object_operations& imported_data_operations() noexcept {
  static constexpr imported_data one;
  return one;
}

}  // namespace troupe::detail
