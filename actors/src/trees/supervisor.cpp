// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/supervisor.hpp"

#include "troupe/supervised_pool.hpp"

#include "pools/engine.hpp"
#include "trees/supervisor_core.hpp"

#include <utility>

namespace troupe {

// Out of the class: the header of the pools is not for all who see it.
supervised_pool detail::supervisor_access::pool(detail::engine_ptr workers) {
  detail::options_ptr defaults = workers->task_defaults();
  return {std::move(workers), std::move(defaults)};
}
supervised_thread_pool detail::supervisor_access::thread_pool(detail::engine_ptr workers) {
  detail::options_ptr defaults = workers->task_defaults();
  return {std::move(workers), std::move(defaults)};
}

supervisor::supervisor(const supervisor_options& options)
    : core_{std::make_shared<detail::supervisor_core>(options)} {}

supervisor::~supervisor() {
  if (core_) {
    core_->release();
  }
}

void supervisor::add(const child_spec& child) {
  core_->add(detail::child_spec_access::definition(child));
}

std::vector<spec_mistake> supervisor::check() const {
  return core_->check();
}

std::vector<spec_mistake> supervisor::check(const supervisor_options& options,
                                            const std::vector<child_spec>& children) {
  std::vector<detail::definition_ptr> definitions;
  definitions.reserve(children.size());
  for (const child_spec& one : children) {
    definitions.push_back(detail::child_spec_access::definition(one));
  }
  return detail::check_all(options, definitions);
}

void supervisor::start() {
  core_->start();
}
void supervisor::stop() {
  core_->stop();
}
void supervisor::kill() {
  core_->kill();
}
bool supervisor::running() const {
  return core_->running();
}
std::optional<supervisor_outcome> supervisor::wait_until(const detail::deadline& until) const {
  return core_->wait_until(until);
}
void supervisor::remove(const std::string& path) {
  core_->remove(path);
}
void supervisor::restart_child(const std::string& path) {
  core_->restart_child(path);
}
void supervisor::stop_child(const std::string& path) {
  core_->stop_child(path);
}
child_status supervisor::child(const std::string& path) const {
  return core_->child(path);
}
children_picture supervisor::picture() const {
  return core_->picture();
}
child_counts supervisor::count() const {
  return core_->count();
}

supervisor_status supervisor::status() const {
  return core_->status("");
}
supervisor_events supervisor::events(std::size_t capacity) {
  return core_->events(capacity);
}

std::vector<supervisor_status> running_supervisors() {
  std::vector<supervisor_status> found;
  for (const detail::listed_child& one : detail::look_at_root().children) {
    if (const auto* core = dynamic_cast<const detail::supervisor_core*>(one.child.get())) {
      found.push_back(core->status(""));
    }
  }
  return found;
}

void supervisor::keep_any(const std::string& name, std::shared_ptr<void> object,
                          const std::type_info& type) {
  core_->keep(name, std::move(object), type);
}
std::shared_ptr<void> supervisor::kept_as(const std::string& name,
                                          const std::type_info& type) const {
  return core_->kept(name, type);
}

supervised_pool supervisor::pool(const std::string& path) const {
  return detail::supervisor_access::pool(core_->pool(path, "pool"));
}

supervised_thread_pool supervisor::thread_pool(const std::string& path) const {
  return detail::supervisor_access::thread_pool(core_->pool(path, "thread pool"));
}

}  // namespace troupe
