// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/type_name.hpp"
#include "troupe/error.hpp"

#include <any>
#include <array>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <memory>
#include <new>
#include <regex>
#include <system_error>
#include <typeinfo>
#include <utility>

namespace troupe {
namespace {

constexpr std::size_t longest_text = std::size_t{64} * 1024;
constexpr std::size_t most_causes = 16;

struct known_type {
  standard_exception kind;
  std::string name;
};

const std::vector<known_type>& known_types() {
  using enum standard_exception;
  using detail::type_name;
  static const std::vector<known_type> all{
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

standard_exception kind_of(const std::string& type) {
  for (const known_type& known : known_types()) {
    if (known.name == type) {
      return known.kind;
    }
  }
  return standard_exception::none;
}

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

void cut(std::string& text) {
  if (text.size() > longest_text) {
    constexpr std::string_view mark = " ... (cut)";
    text.resize(longest_text - mark.size());
    text += mark;
  }
}

/// what() is a user's code: it may return null, though not throw, as it is noexcept in every
/// override.
std::string text_of(const std::exception& thrown) {
  const char* const text = thrown.what();
  if (text == nullptr) {
    return "(what() returned a null pointer)";
  }
  std::string copy{text};
  cut(copy);
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
    into = remote->as_failure();  // it has travelled before: what it said then is the truth
    return;
  }
  if (const auto* lost = dynamic_cast<const worker_lost*>(&thrown)) {
    into = lost->as_failure();
    into.text = text_of(thrown);
    return;
  }
  into.type_name = thrown_type_name(typeid(thrown));
  into.text = text_of(thrown);
  into.std_type = kind_of(into.type_name);
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
  while (nested != nullptr && into.causes.size() < most_causes) {
    failure inner;
    std::exception_ptr next = describe(inner, nested);
    if (inner.type_name.empty()) {
      inner.type_name = name_of_fundamental(nested);
    }
    into.causes.push_back({std::move(inner.type_name), std::move(inner.text)});
    for (cause& older : inner.causes) {
      if (into.causes.size() < most_causes) {
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
  cut(captured.text);
  if (captured.causes.empty()) {
    describe_causes(captured, nested);
  }
  return captured;
}

std::string_view stage_text(errc code) {
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

/// A standard exception that happened elsewhere, with the text it had there.
template <class Standard>
class arrived : public Standard, public remote_error_info {
 public:
  template <class... Args>
  explicit arrived(std::shared_ptr<const failure> what, Args&&... args)
      : Standard(std::forward<Args>(args)...), remote_error_info(std::move(what)) {}
  [[nodiscard]] const char* what() const noexcept override { return message().c_str(); }
};

/// One of the library's own exceptions, thrown by a task.
template <class Own>
class arrived_own : public Own, public remote_error_info {
 public:
  template <class... Args>
  explicit arrived_own(std::shared_ptr<const failure> what, Args&&... args)
      : Own(std::forward<Args>(args)...), remote_error_info(std::move(what)) {}
};

template <class Exception>
std::exception_ptr make(Exception outer, const std::exception_ptr& inner) {
  if (inner == nullptr) {
    return std::make_exception_ptr(std::move(outer));
  }
  try {
    try {
      std::rethrow_exception(inner);
    } catch (...) {
      // std::nested_exception can only take what is being handled, hence the rethrow above.
      std::throw_with_nested(std::move(outer));
    }
  } catch (...) {
    return std::current_exception();
  }
}

std::error_code error_code_of(const failure& what) {
  if (what.error_category == std::system_category().name()) {
    return {what.error_value, std::system_category()};
  }
  if (what.error_category == std::iostream_category().name()) {
    return {what.error_value, std::iostream_category()};
  }
  if (what.error_category == std::future_category().name()) {
    return {what.error_value, std::future_category()};
  }
  return {what.error_value, std::generic_category()};
}

/// Types whose constructor only takes a text.
template <class Standard>
std::exception_ptr make_text(const std::shared_ptr<const failure>& what,
                             const std::exception_ptr& inner) {
  const std::string& text = what->text;
  return make(arrived<Standard>{what, text}, inner);
}

/// Types that are constructed from nothing.
template <class Standard>
std::exception_ptr make_plain(std::shared_ptr<const failure> what,
                              const std::exception_ptr& inner) {
  return make(arrived<Standard>{std::move(what)}, inner);
}

std::exception_ptr make_standard(const std::shared_ptr<const failure>& what,
                                 const std::exception_ptr& inner) {
  switch (what->std_type) {
    case standard_exception::none:
      break;
    case standard_exception::exception:
      return make_plain<std::exception>(what, inner);
    case standard_exception::logic_error:
      return make_text<std::logic_error>(what, inner);
    case standard_exception::domain_error:
      return make_text<std::domain_error>(what, inner);
    case standard_exception::invalid_argument:
      return make_text<std::invalid_argument>(what, inner);
    case standard_exception::length_error:
      return make_text<std::length_error>(what, inner);
    case standard_exception::out_of_range:
      return make_text<std::out_of_range>(what, inner);
    case standard_exception::runtime_error:
      return make_text<std::runtime_error>(what, inner);
    case standard_exception::range_error:
      return make_text<std::range_error>(what, inner);
    case standard_exception::overflow_error:
      return make_text<std::overflow_error>(what, inner);
    case standard_exception::underflow_error:
      return make_text<std::underflow_error>(what, inner);
    case standard_exception::bad_alloc:
      return make_plain<std::bad_alloc>(what, inner);
    case standard_exception::bad_array_new_length:
      return make_plain<std::bad_array_new_length>(what, inner);
    case standard_exception::bad_cast:
      return make_plain<std::bad_cast>(what, inner);
    case standard_exception::bad_typeid:
      return make_plain<std::bad_typeid>(what, inner);
    case standard_exception::bad_exception:
      return make_plain<std::bad_exception>(what, inner);
    case standard_exception::bad_function_call:
      return make_plain<std::bad_function_call>(what, inner);
    case standard_exception::bad_weak_ptr:
      return make_plain<std::bad_weak_ptr>(what, inner);
    case standard_exception::bad_optional_access:
      return make_plain<std::bad_optional_access>(what, inner);
    case standard_exception::bad_variant_access:
      return make_plain<std::bad_variant_access>(what, inner);
    case standard_exception::bad_any_cast:
      return make_plain<std::bad_any_cast>(what, inner);
    case standard_exception::system_error:
      return make(arrived<std::system_error>{what, error_code_of(*what)}, inner);
    case standard_exception::ios_failure:
      return make(arrived<std::ios_base::failure>{what, what->text, error_code_of(*what)}, inner);
    case standard_exception::filesystem_error:
      return make(arrived<std::filesystem::filesystem_error>{what, what->text, what->path1,
                                                             what->path2, error_code_of(*what)},
                  inner);
    case standard_exception::future_error:
      return make(
          arrived<std::future_error>{what, static_cast<std::future_errc>(what->error_value)},
          inner);
    case standard_exception::regex_error:
      return make(arrived<std::regex_error>{what, static_cast<std::regex_constants::error_type>(
                                                      what->error_value)},
                  inner);
  }
  return make(remote_error{what}, inner);
}

}  // namespace

namespace detail {
/// For exceptions that are made from their text: what `error::report` tells besides.
struct failure_access {
  template <class Own>
  static Own detailed(Own made, std::shared_ptr<const failure> what) {
    made.error::details_ = std::move(what);
    return made;
  }
};
}  // namespace detail

namespace {

using detail::failure_access;

template <class Own>
std::exception_ptr make_own(const std::shared_ptr<const failure>& what,
                            const std::exception_ptr& inner) {
  if constexpr (std::is_same_v<Own, worker_lost>) {
    return make(worker_lost{what}, inner);
  } else if constexpr (std::is_same_v<Own, not_bootstrapped>) {
    return what->type_name.empty()
               ? make(failure_access::detailed(Own{what->text}, what), inner)
               : make(failure_access::detailed(arrived_own<Own>{what, what->text}, what), inner);
  } else {
    return what->type_name.empty()
               ? make(failure_access::detailed(Own{what->text, what->ran}, what), inner)
               : make(failure_access::detailed(arrived_own<Own>{what, what->text, what->ran}, what),
                      inner);
  }
}

std::exception_ptr make_any(const std::shared_ptr<const failure>& what,
                            const std::exception_ptr& inner) {
  if (what->std_type != standard_exception::none) {
    return make_standard(what, inner);
  }
  switch (what->code) {
    case errc::worker_lost:
      return make_own<worker_lost>(what, inner);
    case errc::timeout:
      return make_own<timeout_error>(what, inner);
    case errc::cancelled:
      return make_own<cancelled_error>(what, inner);
    case errc::pool_closed:
      return make_own<pool_closed>(what, inner);
    case errc::pool_broken:
      return make_own<pool_broken>(what, inner);
    case errc::broken_barrier:
      return make_own<broken_barrier>(what, inner);
    case errc::not_bootstrapped:
      return make_own<not_bootstrapped>(what, inner);
    case errc::end_of_stream:
      return make_own<end_of_stream>(what, inner);
    case errc::broken_pipe:
      return make_own<broken_pipe>(what, inner);
    case errc::authentication_failed:
      return make_own<authentication_error>(what, inner);
    case errc::queue_closed:
      return make_own<queue_closed>(what, inner);
    default:
      return what->type_name.empty()
                 ? make(failure_access::detailed(error{what->code, what->ran, what->text}, what),
                        inner)
                 : make(remote_error{what}, inner);
  }
}

/// A cause has a type and a text only, so types that carry more arrive as remote_error.
standard_exception kind_without_payload(const std::string& type) {
  const standard_exception kind = kind_of(type);
  switch (kind) {
    case standard_exception::system_error:
    case standard_exception::ios_failure:
    case standard_exception::filesystem_error:
    case standard_exception::future_error:
    case standard_exception::regex_error:
      return standard_exception::none;
    default:
      return kind;
  }
}

std::exception_ptr make_causes(const failure& what) {
  std::exception_ptr inner;
  const std::size_t count = std::min(what.causes.size(), most_causes);
  for (std::size_t i = count; i > 0; --i) {
    const auto one = std::make_shared<failure>();
    one->type_name = what.causes[i - 1].type;
    one->text = what.causes[i - 1].text;
    one->std_type = kind_without_payload(one->type_name);
    one->causes.assign(what.causes.begin() + static_cast<std::ptrdiff_t>(i),
                       what.causes.begin() + static_cast<std::ptrdiff_t>(count));
    one->pid = what.pid;
    one->host = what.host;
    one->task = what.task;
    one->attempt = what.attempt;
    inner = make_any(one, inner);
  }
  return inner;
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
    captured.text.insert(0, stage_text(code));
    cut(captured.text);
  } catch (...) {  // NOLINT(bugprone-empty-catch): out of memory; the code tells the stage too
  }
  return captured;
}

std::exception_ptr to_exception(const failure& what) {
  return make_any(std::make_shared<const failure>(what), make_causes(what));
}

void rethrow(const failure& what) {
  std::rethrow_exception(to_exception(what));
}

std::shared_ptr<const error> to_error(const failure& what) {
  auto shared = std::make_shared<const failure>(what);
  if (what.std_type != standard_exception::none) {
    return std::make_shared<const remote_error>(std::move(shared));
  }
  const auto share = [&]<class Own>(Own made) -> std::shared_ptr<const error> {
    return std::make_shared<const Own>(failure_access::detailed(std::move(made), shared));
  };
  switch (what.code) {
    case errc::worker_lost:
      return std::make_shared<const worker_lost>(std::move(shared));
    case errc::timeout:
      return share(timeout_error{what.text, what.ran});
    case errc::cancelled:
      return share(cancelled_error{what.text, what.ran});
    case errc::pool_closed:
      return share(pool_closed{what.text, what.ran});
    case errc::pool_broken:
      return share(pool_broken{what.text, what.ran});
    case errc::broken_barrier:
      return share(broken_barrier{what.text, what.ran});
    case errc::not_bootstrapped:
      return share(not_bootstrapped{what.text});
    case errc::end_of_stream:
      return share(end_of_stream{what.text, what.ran});
    case errc::broken_pipe:
      return share(broken_pipe{what.text, what.ran});
    case errc::authentication_failed:
      return share(authentication_error{what.text, what.ran});
    case errc::queue_closed:
      return share(queue_closed{what.text, what.ran});
    default:
      break;
  }
  if (what.type_name.empty()) {
    return share(error{what.code, what.ran, what.text});
  }
  return std::make_shared<const remote_error>(std::move(shared));
}

}  // namespace troupe
