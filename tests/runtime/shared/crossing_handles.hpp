// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"
#include "troupe/detail/crossing.hpp"
#include "troupe/detail/descriptor.hpp"

#include <fcntl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace troupe::test {

/// What arrives with a message: a descriptor with an id.
class arrived_attachment final : public detail::attachment {
 public:
  arrived_attachment(std::uint64_t id, detail::descriptor memory)
      : attachment{id}, memory_{std::move(memory)} {}
  [[nodiscard]] int number() const noexcept override { return memory_.number(); }

 private:
  detail::descriptor memory_;
};

/// An encoded value on its way.
struct parcel {
  std::vector<std::byte> bytes;
  detail::attachment_list attachments;
};

template <class T>
parcel pack(const T& value) {
  parcel made;
  detail::byte_buffer buffer;
  {
    const detail::attachment_collector loading{made.attachments};
    output_archive ar{buffer};
    ar(value);
  }
  made.bytes.assign(buffer.data(), buffer.data() + buffer.size());
  for (auto& one : made.attachments) {
    one = std::make_shared<arrived_attachment>(
        one->id(), detail::descriptor{::fcntl(one->number(), F_DUPFD_CLOEXEC, 3)});
  }
  return made;
}

template <class T>
T unpack(const parcel& from) {
  const detail::attachment_source unloading{from.attachments};
  input_archive ar{from.bytes};
  T value{};
  ar(value);
  return value;
}

/// The value as it arrives in a process, which is this one.
template <class T>
T crossed(const T& value) {
  return unpack<T>(pack(value));
}

}  // namespace troupe::test
