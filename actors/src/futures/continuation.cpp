// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/continuation.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

continuation::continuation(std::vector<std::shared_ptr<future_state>> sources)
    : sources_{std::move(sources)} {}
continuation::~continuation() = default;

void continuation::each_value(const std::function<void(std::span<const std::byte>)>&) const {}

bool continuation::cancel(bool force) {
  if (done()) {
    return false;
  }
  bool certain = true;
  for (const auto& source : sources_) {
    certain = source->cancel(force) && certain;
  }
  return certain;
}

bool continuation::running() const {
  return !done() && std::any_of(sources_.begin(), sources_.end(), [](const auto& source) {
    return source->done() || source->running();
  });
}

future_state::executor continuation::callbacks() const {
  if (sources_.empty()) {
    return [](const std::function<void()>& function) { function(); };
  }
  return sources_.front()->callback_executor();
}

void continuation::end(std::exception_ptr thrown) {
  if (done()) {
    return;
  }
  std::shared_ptr<const failure> failed;
  if (thrown) {
    failed = std::make_shared<const failure>(capture_failure(thrown));
    thrown_ = std::move(thrown);
  }
  finish(std::move(failed));
}

void throw_value_gone() {
  throw error{errc::no_state, task_ran::yes,
              "troupe: the result of this future was taken already: its type cannot be copied, so "
              "get() gives it once"};
}

completion_duty::~completion_duty() {
  of_->complete([] {
    throw pool_closed{"troupe: the program ended before what should follow a future could run"};
  });
}

}  // namespace troupe::detail
