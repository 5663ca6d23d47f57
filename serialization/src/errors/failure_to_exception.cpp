// SPDX-License-Identifier: BSD-3-Clause

// Failures become exceptions again, of the types that were thrown where that is possible.

#include "troupe/error.hpp"

#include "errors/exception_kinds.hpp"

#include <algorithm>
#include <any>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <memory>
#include <new>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>

namespace troupe {
namespace {

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

/// An `error` of the library that was thrown where it happened: of no class of its own, or of one
/// that only a higher layer knows. Not what wraps the failure of a stage.
bool is_plain_error(const failure& what) {
  const std::string_view stage = detail::stage_text(what.code);
  return what.type_name.starts_with("troupe::") && what.type_name != "troupe::remote_error" &&
         what.code != errc::task_failed && (stage.empty() || !what.text.starts_with(stage));
}

/// The code of a class that has one of its own, by the name of the class; else `task_failed`.
errc code_of_class(const std::string& type) {
  constexpr std::pair<std::string_view, errc> classes[] = {
      {"troupe::timeout_error", errc::timeout},
      {"troupe::cancelled_error", errc::cancelled},
      {"troupe::pool_closed", errc::pool_closed},
      {"troupe::pool_broken", errc::pool_broken},
      {"troupe::broken_barrier", errc::broken_barrier},
      {"troupe::not_bootstrapped", errc::not_bootstrapped},
      {"troupe::end_of_stream", errc::end_of_stream},
      {"troupe::broken_pipe", errc::broken_pipe},
      {"troupe::authentication_error", errc::authentication_failed},
      {"troupe::queue_closed", errc::queue_closed}};
  for (const auto& [name, code] : classes) {
    if (name == type) {
      return code;
    }
  }
  return errc::task_failed;
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
      if (is_plain_error(*what)) {
        return make(failure_access::detailed(
                        arrived_own<error>{what, what->code, what->ran, what->text}, what),
                    inner);
      }
      return what->type_name.empty()
                 ? make(failure_access::detailed(error{what->code, what->ran, what->text}, what),
                        inner)
                 : make(remote_error{what}, inner);
  }
}

/// A cause has a type and a text only, so types that carry more arrive as remote_error.
standard_exception kind_without_payload(const std::string& type) {
  const standard_exception kind = detail::kind_of_exception(type);
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
  const std::size_t count = std::min(what.causes.size(), detail::most_causes);
  for (std::size_t i = count; i > 0; --i) {
    const auto one = std::make_shared<failure>();
    one->type_name = what.causes[i - 1].type;
    one->text = what.causes[i - 1].text;
    one->std_type = kind_without_payload(one->type_name);
    one->code = code_of_class(one->type_name);
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
  if (what.type_name.empty() || is_plain_error(what)) {
    return share(error{what.code, what.ran, what.text});
  }
  return std::make_shared<const remote_error>(std::move(shared));
}

}  // namespace troupe
