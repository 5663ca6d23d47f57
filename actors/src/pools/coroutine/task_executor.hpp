// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/error.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/error.hpp>
#include <asio/execution/execute.hpp>
#include <asio/prefer.hpp>
#include <asio/query.hpp>
#include <asio/require.hpp>
#include <exception>
#include <memory>
#include <system_error>
#include <type_traits>
#include <utility>

namespace troupe::detail {

/// A coroutine that was asked to stop ended with this: it did stop.
inline bool says_stopped(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::system_error& e) {
    return e.code() == asio::error::operation_aborted || e.code() == std::errc::operation_canceled;
  } catch (const cancelled_error&) {
    return true;  // what it awaited was cancelled first
  } catch (...) {
    return false;
  }
}

/// Runs functions as a certain task: Asio resumes a coroutine only through its executor, so this is
/// where `this_task` follows it. A `Scope` made of a `Task` says so while it lives.
template <class Scope, class Task, class Inner>
class task_executor {
 public:
  task_executor(std::shared_ptr<const Task> as, Inner inner) noexcept
      : as_{std::move(as)}, inner_{std::move(inner)} {}

  template <class Property>
    requires(asio::can_query<const Inner&, Property>::value)
  decltype(auto) query(const Property& property) const {
    return asio::query(inner_, property);
  }
  template <class Property>
    requires(asio::can_require<const Inner&, Property>::value)
  auto require(const Property& property) const {
    return of(asio::require(inner_, property));
  }
  template <class Property>
    requires(asio::can_prefer<const Inner&, Property>::value)
  auto prefer(const Property& property) const {
    return of(asio::prefer(inner_, property));
  }
  template <class Function>
  void execute(Function&& function) const {
    asio::execution::execute(
        inner_,
        [as = as_, run = std::decay_t<Function>(std::forward<Function>(function))]() mutable {
          const Scope scope{*as};
          std::move(run)();
        });
  }

  friend bool operator==(const task_executor& a, const task_executor& b) noexcept {
    return a.as_ == b.as_ && a.inner_ == b.inner_;
  }
  friend bool operator!=(const task_executor& a, const task_executor& b) noexcept {
    return !(a == b);
  }

 private:
  template <class Other>
  task_executor<Scope, Task, Other> of(Other other) const {
    return {as_, std::move(other)};
  }

  std::shared_ptr<const Task> as_;
  Inner inner_;
};

}  // namespace troupe::detail
