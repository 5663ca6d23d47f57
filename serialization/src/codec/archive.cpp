// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/archive.hpp"

#include "troupe/detail/std_types.hpp"
#include "troupe/detail/type_name.hpp"
#include "troupe/error.hpp"

#include <functional>
#include <string>
#include <typeindex>
#include <unordered_map>
#include <utility>
#include <vector>

namespace troupe {
namespace detail {

struct object_key {
  const void* address;
  std::type_index type;  // a struct and its first member share an address
  bool operator==(const object_key&) const = default;
};

struct object_key_hash {
  std::size_t operator()(const object_key& key) const noexcept {
    return std::hash<const void*>{}(key.address) ^ (key.type.hash_code() << 1U);
  }
};

class saved_pointers {
 public:
  std::unordered_map<object_key, std::uint32_t, object_key_hash> ids;
  // Keeps every object alive to the end, so that no address is used twice (CVE-2020-11105).
  std::vector<std::shared_ptr<const void>> alive;
};

class loaded_pointers {
 public:
  struct entry {
    std::shared_ptr<void> pointer;
    const std::type_info* type;
  };
  std::unordered_map<std::uint32_t, entry> entries;
};

void fail_valueless(const std::type_info& type) {
  throw error{errc::protocol_error, task_ran::no,
              "cannot encode a " + type_name(type) + " that holds no alternative"};
}

}  // namespace detail

output_archive::output_archive(detail::byte_sink& sink)
    : OutputArchive(this), sink_(sink), begin_(sink.size()) {}

output_archive::~output_archive() = default;

void output_archive::write_long_double(const long double& value) {
  std::byte bytes[sizeof value] = {};
  std::memcpy(bytes, &value, detail::long_double_value_bytes);
  write(bytes, sizeof bytes);
}

void output_archive::align(std::size_t alignment) {
  const std::size_t odd = (sink_.size() - begin_) % alignment;
  if (odd != 0) {
    std::memset(sink_.extend(alignment - odd), 0, alignment - odd);
  }
}

std::uint32_t output_archive::pointer_id(std::shared_ptr<const void> pointer,
                                         const std::type_info& type) {
  if (pointers_ == nullptr) {
    pointers_ = std::make_unique<detail::saved_pointers>();
  }
  const auto next = static_cast<std::uint32_t>(pointers_->ids.size() + 1);
  const auto [at, is_new] =
      pointers_->ids.try_emplace(detail::object_key{pointer.get(), type}, next);
  if (!is_new) {
    return at->second;
  }
  pointers_->alive.push_back(std::move(pointer));
  return next | cereal::detail::msb_32bit;
}

void output_archive::fail_depth(const std::type_info& type) {
  throw error{errc::nesting_too_deep, task_ran::no,
              "cannot encode a " + detail::type_name(type) + ": values nest deeper than " +
                  std::to_string(detail::max_nesting) +
                  " levels; serialize long chains as a flat sequence"};
}

input_archive::input_archive(std::span<const std::byte> bytes)
    : InputArchive(this),
      begin_(bytes.data()),
      at_(bytes.data()),
      end_(bytes.data() + bytes.size()),
      memory_left_(detail::free_memory + bytes.size() * detail::max_memory_factor) {}

input_archive::~input_archive() = default;

void input_archive::align(std::size_t alignment, const std::type_info& type) {
  const std::size_t odd = offset() % alignment;
  if (odd == 0) {
    return;
  }
  const std::size_t count = alignment - odd;
  const std::byte* const padding = skip(count, type);
  for (std::size_t i = 0; i < count; ++i) {
    if (padding[i] != std::byte{0}) {
      fail("padding is not zero", type);
    }
  }
}

bool input_archive::read_bool(const std::type_info& type) {
  std::uint8_t byte = 0;
  read(&byte, 1, type);
  if (byte > 1) {
    --at_;
    fail("the byte " + std::to_string(byte) + " is neither true nor false", type);
  }
  return byte == 1;
}

std::size_t input_archive::read_exact_size(std::size_t element_bytes, const std::type_info& type) {
  std::uint64_t count = 0;
  read(&count, sizeof count, type);
  if (count > remaining() / element_bytes) {
    fail("it announces " + std::to_string(count) + " elements of " + std::to_string(element_bytes) +
             " bytes each, more than there are bytes left",
         type);
  }
  return static_cast<std::size_t>(count);
}

std::size_t input_archive::read_size(const std::type_info& type) {
  std::uint64_t count = 0;
  read(&count, sizeof count, type);
  check_size(count, type);
  return static_cast<std::size_t>(count);
}

void input_archive::check_size(std::uint64_t count, const std::type_info& type) const {
  if (count > remaining() && count - remaining() > empty_elements_left_) {
    fail("it announces " + std::to_string(count) + " elements, more than there are bytes left",
         type);
  }
}

void input_archive::charge_empty_element(const std::type_info& type) {
  if (empty_elements_left_ == 0) {
    fail("too many elements that take no bytes", type);
  }
  --empty_elements_left_;
}

void input_archive::add_pointer(std::uint32_t id, std::shared_ptr<void> pointer,
                                const std::type_info& type) {
  if (pointers_ == nullptr) {
    pointers_ = std::make_unique<detail::loaded_pointers>();
  }
  const std::uint32_t plain = id & ~cereal::detail::msb_32bit;
  if (plain == 0 ||
      !pointers_->entries
           .try_emplace(plain, detail::loaded_pointers::entry{std::move(pointer), &type})
           .second) {
    fail("the shared object " + std::to_string(plain) + " is there twice", type);
  }
}

std::shared_ptr<void> input_archive::find_pointer(std::uint32_t id, const std::type_info* type) {
  if (id == 0) {
    return nullptr;
  }
  const std::type_info& wanted = type != nullptr ? *type : typeid(void);
  if (pointers_ != nullptr) {
    const auto found = pointers_->entries.find(id);
    if (found != pointers_->entries.end()) {
      if (*found->second.type != wanted) {
        fail("the shared object " + std::to_string(id) + " is a " +
                 detail::type_name(*found->second.type),
             wanted);
      }
      return found->second.pointer;
    }
  }
  fail("there is no shared object " + std::to_string(id), wanted);
}

void input_archive::guarded(void (*load)(input_archive&, void*), void* to,
                            const std::type_info& type) {
  try {
    load(*this, to);
  } catch (const cereal::Exception& refused) {
    fail(refused.what(), type);
  }
}

void input_archive::fail(std::string_view reason, const std::type_info& type) const {
  throw error{errc::protocol_error, task_ran::no,
              "cannot decode a " + detail::type_name(type) + " at offset " +
                  std::to_string(offset()) + " of " +
                  std::to_string(static_cast<std::size_t>(end_ - begin_)) +
                  " bytes: " + std::string{reason}};
}

void input_archive::fail_truncated(std::size_t count, const std::type_info& type) const {
  fail(std::to_string(count) + " bytes are needed and " + std::to_string(remaining()) + " are left",
       type);
}

void input_archive::fail_trailing(const std::type_info& type) const {
  fail(std::to_string(remaining()) + " bytes are left over", type);
}

void input_archive::fail_depth(const std::type_info& type) const {
  throw error{errc::nesting_too_deep, task_ran::no,
              "cannot decode a " + detail::type_name(type) + " at offset " +
                  std::to_string(offset()) + ": values nest deeper than " +
                  std::to_string(detail::max_nesting) + " levels"};
}

void input_archive::fail_memory(const std::type_info& type) const {
  fail("its elements take more memory than " + std::to_string(detail::max_memory_factor) +
           " times its bytes and " + std::to_string(detail::free_memory >> 20U) + " MiB",
       type);
}

}  // namespace troupe
