// SPDX-License-Identifier: BSD-3-Clause

// Exceptions become failures, which can travel.

#include "troupe/detail/type_name.hpp"
#include "troupe/error.hpp"

#include "errors/cut_text.hpp"
#include "errors/exception_kinds.hpp"

#include <any>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <memory>
#include <new>
#include <optional>
#include <regex>
#include <system_error>
#include <typeinfo>
#include <utility>
#include <variant>

namespace troupe {
namespace {

struct known_type {
  standard_exception kind;
  std::string name;
};

const std::vector<known_type>& known_types() {
  using enum standard_exception;
  using detail::type_name;
  static const std::vector<known_type>& all = *new std::vector<known_type>{
      {exception, type_name(typeid(std::exception))},
      {logic_error, type_name(typeid(std::logic_error))},
      {domain_error, type_name(typeid(std::domain_error))},
      {invalid_argument, type_name(typeid(std::invalid_argument))},
      {length_error, type_name(typeid(std::length_error))},
      {out_of_range, type_name(typeid(std::out_of_range))},
      {runtime_error, type_name(typeid(std::runtime_error))},
      {range_error, type_name(typeid(std::range_error))},
      {overflow_error, type_name(typeid(std::overflow_error))},
      {underflow_error, type_name(typeid(std::underflow_error))},
      {bad_alloc, type_name(typeid(std::bad_alloc))},
      {bad_array_new_length, type_name(typeid(std::bad_array_new_length))},
      {bad_cast, type_name(typeid(std::bad_cast))},
      {bad_typeid, type_name(typeid(std::bad_typeid))},
      {bad_exception, type_name(typeid(std::bad_exception))},
      {bad_function_call, type_name(typeid(std::bad_function_call))},
      {bad_weak_ptr, type_name(typeid(std::bad_weak_ptr))},
      {bad_optional_access, type_name(typeid(std::bad_optional_access))},
      {bad_variant_access, type_name(typeid(std::bad_variant_access))},
      {bad_any_cast, type_name(typeid(std::bad_any_cast))},
      {system_error, type_name(typeid(std::system_error))},
      {ios_failure, type_name(typeid(std::ios_base::failure))},
      // What libstdc++ really throws, so that handlers of both of its ABIs match.
      {ios_failure, "std::__ios_failure"},
      {filesystem_error, type_name(typeid(std::filesystem::filesystem_error))},
      {future_error, type_name(typeid(std::future_error))},
      {regex_error, type_name(typeid(std::regex_error))},
  };
  return all;
}
[[maybe_unused]] const auto& types_made_before_main = known_types();

}  // namespace

std::string_view detail::stage_text(errc code) {
  switch (code) {
    case errc::argument_encode_failed:
      return "encoding the arguments failed: ";
    case errc::argument_decode_failed:
      return "decoding the arguments failed: ";
    case errc::result_encode_failed:
      return "encoding the result failed: ";
    case errc::result_decode_failed:
      return "decoding the result failed: ";
    case errc::initializer_failed:
      return "the initializer failed: ";
    case errc::unknown_function:
      return "finding the function failed: ";
    default:
      return "";
  }
}

standard_exception detail::kind_of_exception(const std::string& type) {
  for (const known_type& known : known_types()) {
    if (known.name == type) {
      return known.kind;
    }
  }
  return standard_exception::none;
}

namespace {

/// The type the user threw: std::throw_with_nested wraps it in a type of the library's own.
std::string thrown_type_name(const std::type_info& type) {
  std::string name = detail::type_name(type);
  for (const std::string_view wrapper : {"std::_Nested_exception<", "std::__nested<"}) {
    if (name.starts_with(wrapper) && name.ends_with('>')) {
      name = name.substr(wrapper.size(), name.size() - wrapper.size() - 1);
      while (name.ends_with(' ')) {
        name.pop_back();
      }
    }
  }
  return name;
}

/// what() is a user's code. It may return null. It cannot throw, because every override is
/// noexcept.
std::string text_of(const std::exception& thrown) {
  const char* const text = thrown.what();
  if (text == nullptr) {
    return "(what() returned a null pointer)";
  }
  std::string copy{text};
  detail::cut_text(copy);
  return copy;
}

void describe_error_code(failure& into, const std::error_code& code) {
  into.error_value = code.value();
  into.error_category = code.category().name();
}

void describe_payload(failure& into, const std::exception& thrown) {
  if (const auto* system = dynamic_cast<const std::system_error*>(&thrown)) {
    describe_error_code(into, system->code());
    if (const auto* files = dynamic_cast<const std::filesystem::filesystem_error*>(&thrown)) {
      into.path1 = files->path1().string();
      into.path2 = files->path2().string();
    }
  } else if (const auto* future = dynamic_cast<const std::future_error*>(&thrown)) {
    describe_error_code(into, future->code());
  } else if (const auto* regex = dynamic_cast<const std::regex_error*>(&thrown)) {
    into.error_value = static_cast<std::int32_t>(regex->code());
  }
}

std::exception_ptr nested_in(const std::exception& thrown) {
  const auto* const nested = dynamic_cast<const std::nested_exception*>(&thrown);
  return nested == nullptr ? nullptr : nested->nested_ptr();
}

void describe_class(failure& into, const std::exception& thrown) {
  if (const auto* remote = dynamic_cast<const remote_error_info*>(&thrown)) {
    into = remote->as_failure();  // it came from another process: what it said there is kept
    return;
  }
  if (const auto* lost = dynamic_cast<const worker_lost*>(&thrown)) {
    into = lost->as_failure();
    into.text = text_of(thrown);
    return;
  }
  into.type_name = thrown_type_name(typeid(thrown));
  into.text = text_of(thrown);
  into.std_type = detail::kind_of_exception(into.type_name);
  describe_payload(into, thrown);
  if (const auto* own = dynamic_cast<const error*>(&thrown)) {
    into.code = own->code();
    into.ran = own->ran();
  }
}

/// Fills type, text and payload of one exception and returns the one nested in it.
std::exception_ptr describe(failure& into, const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& caught) {
    describe_class(into, caught);
    return nested_in(caught);
  } catch (const char* text) {
    into.text = text == nullptr ? "(null)" : text;
  } catch (const std::string& text) {
    into.text = text;
  } catch (int number) {
    into.text = std::to_string(number);
  } catch (...) {
    into.text = "an exception without a text";
    if (const std::type_info* type = detail::current_exception_type()) {
      into.type_name = thrown_type_name(*type);
    }
    try {
      throw;
    } catch (const std::nested_exception& nested) {
      return nested.nested_ptr();
    } catch (...) {
      return nullptr;  // not nested: nothing more to tell
    }
  }
  return nullptr;
}

std::string name_of_fundamental(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (...) {
    const std::type_info* const type = detail::current_exception_type();
    return type == nullptr ? "unknown" : thrown_type_name(*type);
  }
}

void describe_causes(failure& into, std::exception_ptr nested) {
  while (nested != nullptr && into.causes.size() < detail::most_causes) {
    failure inner;
    std::exception_ptr next = describe(inner, nested);
    if (inner.type_name.empty()) {
      inner.type_name = name_of_fundamental(nested);
    }
    into.causes.push_back({std::move(inner.type_name), std::move(inner.text)});
    for (cause& older : inner.causes) {
      if (into.causes.size() < detail::most_causes) {
        into.causes.push_back(std::move(older));
      }
    }
    nested = std::move(next);
  }
}

failure capture(const std::exception_ptr& thrown) {
  failure captured;
  if (thrown == nullptr) {
    captured.text = "(no exception)";
    return captured;
  }
  const std::exception_ptr nested = describe(captured, thrown);
  if (captured.type_name.empty() && captured.code == errc::task_failed) {
    captured.type_name = name_of_fundamental(thrown);
  }
  detail::cut_text(captured.text);
  if (captured.causes.empty()) {
    describe_causes(captured, nested);
  }
  return captured;
}

task_ran ran_before(errc code, task_ran otherwise) {
  switch (code) {
    case errc::argument_encode_failed:
    case errc::argument_decode_failed:
    case errc::initializer_failed:
    case errc::unknown_function:
      return task_ran::no;
    case errc::result_encode_failed:
    case errc::result_decode_failed:
      return task_ran::yes;
    default:
      return otherwise;
  }
}

}  // namespace

failure capture_failure(const std::exception_ptr& thrown) noexcept {
  try {
    return capture(thrown);
  } catch (...) {
    // Only memory can be missing here. A failure without strings needs none.
    failure poor;
    poor.std_type = standard_exception::bad_alloc;
    return poor;
  }
}

failure capture_failure(errc code, const std::exception_ptr& thrown) noexcept {
  failure captured = capture_failure(thrown);
  captured.code = code;
  captured.ran = ran_before(code, captured.ran);
  captured.std_type = standard_exception::none;
  try {
    captured.text.insert(0, detail::stage_text(code));
    detail::cut_text(captured.text);
  } catch (...) {  // NOLINT(bugprone-empty-catch): out of memory; the code tells the stage too
  }
  return captured;
}

}  // namespace troupe
