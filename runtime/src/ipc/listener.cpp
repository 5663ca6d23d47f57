// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/listener.hpp"

#include "base/never_destroyed.hpp"
#include "ipc/listener_core.hpp"

#include <utility>

namespace troupe {

listener::listener(const std::string& address, listener_options options)
    : core_{std::make_shared<detail::listener_core>(address, std::move(options))} {}

listener::~listener() {
  close();
}

listener& listener::operator=(listener&& other) noexcept {
  if (this != &other) {
    close();
    core_ = std::move(other.core_);
  }
  return *this;
}

namespace {

detail::listener_core& opened(const std::shared_ptr<detail::listener_core>& core) {
  if (!core) {
    throw error{errc::closed, task_ran::no, "troupe: this listener was moved from"};
  }
  return *core;
}

}  // namespace

connection listener::accept() {
  opened(core_);
  const auto core = core_;  // it may be closed, or even moved from, while this waits
  for (;;) {
    if (auto made = core->accept_until(std::nullopt)) {
      return std::move(*made);
    }
  }
}

std::optional<connection> listener::accept_until(const detail::deadline& until) {
  opened(core_);
  const auto core = core_;
  return core->accept_until(until);
}

const std::string& listener::address() const noexcept {
  static const detail::never_destroyed<std::string> none;
  return core_ ? core_->text() : none.value;
}

int listener::native_handle() const {
  return opened(core_).number();
}

bool listener::is_open() const noexcept {
  return core_ && core_->is_open();
}

void listener::close() noexcept {
  if (core_) {
    core_->close();
  }
}

}  // namespace troupe
