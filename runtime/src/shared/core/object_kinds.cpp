// SPDX-License-Identifier: BSD-3-Clause

// The kinds of shared objects, and what the handles of all kinds have in common.

#include "troupe/detail/region.hpp"
#include "troupe/error.hpp"
#include "troupe/objects.hpp"

#include "shared/core/kind_rules.hpp"

#include <string_view>
#include <typeinfo>

namespace troupe {

std::string_view to_string(object_kind kind) noexcept {
  switch (kind) {
    case object_kind::mutex:
      return "mutex";
    case object_kind::recursive_mutex:
      return "recursive_mutex";
    case object_kind::value:
      return "value";
    case object_kind::array:
      return "array";
    case object_kind::shared_memory:
      return "shared_memory";
    case object_kind::semaphore:
      return "semaphore";
    case object_kind::bounded_semaphore:
      return "bounded_semaphore";
    case object_kind::event:
      return "event";
    case object_kind::condition:
      return "condition";
    case object_kind::barrier:
      return "barrier";
    case object_kind::queue:
      return "queue";
    case object_kind::lifo_queue:
      return "lifo_queue";
    case object_kind::priority_queue:
      return "priority_queue";
    case object_kind::none:
      break;
  }
  return "unknown";
}

namespace detail {

std::uint64_t type_tag_of(const std::type_info& type, std::size_t bytes) noexcept {
  std::uint64_t hash = 0xCBF2'9CE4'8422'2325 ^ bytes;  // FNV-1a
  for (const char c : std::string_view{type.name()}) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100'0000'01B3;
  }
  return hash;
}

const object_rules* rules_of_kind(object_kind kind) noexcept {
  switch (kind) {
    case object_kind::mutex:
      return &mutex_rules;
    case object_kind::recursive_mutex:
      return &recursive_rules;
    case object_kind::value:
      return &any_value_rules;
    case object_kind::array:
      return &any_array_rules;
    case object_kind::shared_memory:
      return &memory_rules;
    case object_kind::semaphore:
      return &semaphore_rules;
    case object_kind::bounded_semaphore:
      return &bounded_rules;
    case object_kind::event:
      return &event_rules;
    case object_kind::condition:
      return &condition_rules;
    case object_kind::barrier:
      return &barrier_rules;
    case object_kind::queue:
    case object_kind::lifo_queue:
    case object_kind::priority_queue:
      return &queue_rules(kind);
    case object_kind::none:
      break;
  }
  return nullptr;
}

void object_handle::save_handle(output_archive& ar) const {
  object().ensure_if_local();
  save_attachment(ar, object_);
}

void object_handle::load_handle(input_archive& ar, const object_rules& rules,
                                std::uint64_t type_tag) {
  object_ = region::import(load_attachment(ar), rules, type_tag);
}

void object_handle::throw_moved_from() {
  throw error{errc::no_state, task_ran::no,
              "troupe: this handle of a shared object was moved from: it names none any more"};
}

}  // namespace detail
}  // namespace troupe
