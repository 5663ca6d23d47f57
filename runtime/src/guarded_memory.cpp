// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/guarded_memory.hpp"

#include "object_lock.hpp"
#include "robust_lock_fast.hpp"

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

namespace troupe::detail {

data_lock::data_lock(std::shared_ptr<region> object) : object_{std::move(object)} {
  if (acquire_object(*object_, std::nullopt) == lock_result::own) {
    throw_locked_already("troupe: this thread has a guard of this value or array already");
  }
}

data_lock::~data_lock() {
  if (object_ != nullptr) {
    release_owned(object_->lock());
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

}  // namespace troupe::detail
