// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/callable.hpp"

#include "troupe/detail/type_name.hpp"
#include "troupe/error.hpp"

#include "base/fork_safety.hpp"

#include <map>
#include <stdexcept>

namespace troupe {
namespace detail {
namespace {

struct named_entry {
  any_function function;
  const std::type_info* type;
};

class name_table {
 public:
  void add(std::string_view name, const named_entry& entry) {
    const fork_safe_guard lock{mutex_};
    const auto [at, is_new] = entries_.try_emplace(std::string{name}, entry);
    if (!is_new && at->second.function != entry.function) {
      throw std::logic_error{"troupe::name: another function is already named '" +
                             std::string{name} + "'"};
    }
  }

  named_entry find(const std::string& name) {
    const fork_safe_guard lock{mutex_};
    const auto found = entries_.find(name);
    return found == entries_.end() ? named_entry{nullptr, nullptr} : found->second;
  }

 private:
  fork_safe_mutex mutex_;
  std::map<std::string, named_entry, std::less<>> entries_ TROUPE_GUARDED_BY(mutex_);
};

// Names are given before main and looked up until after it, so the table is never destroyed.
name_table& names() {
  static name_table& table = *new name_table;
  return table;
}
[[maybe_unused]] const name_table& names_made_before_main = names();

}  // namespace

erased_task::~erased_task() = default;

bool erased_task::is_coroutine() const noexcept {
  return false;
}

void erased_task::begin(std::span<const std::byte> /*arguments*/,
                        const std::shared_ptr<coroutine_run>& /*run*/, task_stage& /*stage*/) {
  throw std::logic_error{"troupe: this task is no coroutine"};
}

void fail_null_callable() {
  throw std::invalid_argument{"troupe: a null function pointer cannot be called"};
}

void fail_null_function(const std::type_info& type) {
  throw error{errc::unknown_function, task_ran::no,
              "the bytes of a task name no function where a " + type_name(type) + " should be"};
}

void write_text(output_archive& ar, std::string_view text) {
  ar.write_size(text.size());
  ar.write(text.data(), text.size());
}

std::string_view checked_text(const char* text) {
  if (text == nullptr) {
    throw std::invalid_argument{"troupe: a null const char* cannot cross to another process"};
  }
  return text;
}

void write_factory(output_archive& ar, task_factory factory) {
  encode_code_address(ar, reinterpret_cast<const void*>(factory));
}

std::unique_ptr<erased_task> decode_task_callable(std::span<const std::byte> bytes) {
  input_archive ar{bytes};
  const auto factory = reinterpret_cast<task_factory>(
      const_cast<void*>(decode_code_address(ar, typeid(task_factory))));
  if (factory == nullptr) {
    fail_null_function(typeid(task_factory));
  }
  return factory(bytes.subspan(ar.offset()));
}

registration register_name(std::string_view name, any_function function,
                           const std::type_info& type) {
  if (name.empty() || function == nullptr) {
    throw std::invalid_argument{"troupe::name: a name and a function are needed"};
  }
  names().add(name, {function, &type});
  return registration{name};
}

any_function find_function(const std::string& name, const std::type_info& type) {
  const named_entry found = names().find(name);
  if (found.function == nullptr) {
    throw error{errc::unknown_function, task_ran::no,
                "no function is named '" + name +
                    "' in this program: add `static const auto r = troupe::name(\"" + name +
                    "\", function);` to it"};
  }
  if (*found.type != type) {
    throw error{errc::unknown_function, task_ran::no,
                "the function named '" + name + "' is a " + type_name(*found.type) +
                    " in this program and not a " + type_name(type)};
  }
  return found.function;
}

}  // namespace detail

bound_call::bound_call(const detail::byte_buffer& callable, const detail::byte_buffer& arguments,
                       detail::attachment_list attachments)
    : callable_(callable.bytes().begin(), callable.bytes().end()),
      arguments_(arguments.bytes().begin(), arguments.bytes().end()),
      attachments_(std::move(attachments)) {}

void bound_call::save(output_archive& ar) const {
  ar(callable_, arguments_);
  ar.write_size(attachments_.size());
  for (const auto& one : attachments_) {
    detail::save_attachment(ar, one);
  }
}

void bound_call::load(input_archive& ar) {
  ar(callable_, arguments_);
  attachments_.clear();
  const std::size_t count = ar.read_exact_size(sizeof(std::uint64_t), typeid(bound_call));
  for (std::size_t i = 0; i < count; ++i) {
    attachments_.push_back(detail::load_attachment(ar));
  }
}

void bound_call::operator()() const {
  if (!*this) {
    return;
  }
  const detail::attachment_source scope{attachments_};
  const auto task = detail::decode_task_callable(callable_);
  detail::byte_buffer dropped;
  auto stage = detail::task_stage::decode_arguments;
  task->run(arguments_, dropped, stage);
}

}  // namespace troupe
