// SPDX-License-Identifier: BSD-3-Clause
#include "trees/children/service_watch.hpp"

#include <unistd.h>

#include <algorithm>
#include <utility>

namespace troupe::detail {
namespace {

std::int64_t in_ms(const std::optional<std::chrono::milliseconds>& time) {
  return time ? time->count() : -1;
}

}  // namespace

service_role role_of(const process_plan& plan, std::uint64_t run) {
  service_role role;
  role.service = plan.service;
  role.run = run;
  role.program = ::getpid();
  role.every_ms = in_ms(plan.every);
  role.ready_at_start = plan.ready_at_start;
  if (plan.watchdog) {
    role.beat_ms = std::max<std::int64_t>(plan.watchdog->count() / 4, 1);
  }
  if (plan.probe) {
    role.probe_ms = plan.probe_interval.count();
  }
  return role;
}

service_watch::service_watch(child_run how, std::shared_ptr<const process_plan> plan,
                             std::function<void(bool)> put_down)
    : how_{std::move(how)}, plan_{std::move(plan)}, put_down_{std::move(put_down)} {
  if (plan_->watchdog) {
    beats_.emplace(*plan_->watchdog);
  }
  if (plan_->probe) {
    probes_.emplace(plan_->probe_timeout);
  }
}

void service_watch::on_line(line_kind what, const std::string& text) {
  const steady_time now = how_.loop->now();
  switch (what) {
    case line_kind::ready:
      if (beats_) {
        beats_->begin(now);
      }
      how_.events.ready();
      break;
    case line_kind::beat:
      if (beats_) {
        beats_->beat(now);
      }
      break;
    case line_kind::threw:
      if (!because_) {
        because_ = child_death{end_cause::threw, text};
      }
      break;
    case line_kind::probe_begins:
      if (probes_) {
        probes_->begin(now);
      }
      break;
    case line_kind::probe_ends:
      if (probes_) {
        probes_->end();
      }
      break;
    case line_kind::stop:
      break;  // not said by services
    case line_kind::probe_failed:
      if (probes_) {
        probes_->end();
        conclude(end_cause::failed_probe, "its probe threw " + text, false);
      }
      break;
  }
}

void service_watch::end() {
  over_ = true;
  beats_.reset();
  probes_.reset();
}

void service_watch::conclude(end_cause cause, std::string text, bool hangs) {
  if (because_ || over_) {
    return;
  }
  because_ = child_death{cause, std::move(text)};
  beats_.reset();
  probes_.reset();
  put_down_(hangs);
}

void service_watch::look() {
  const steady_time now = how_.loop->now();
  if (beats_ && beats_->missed(now)) {
    conclude(end_cause::missed_heartbeat,
             "no heartbeat for " + std::to_string(plan_->watchdog->count()) + " ms", true);
  } else if (probes_ && probes_->missed(now)) {
    conclude(
        end_cause::failed_probe,
        "its probe did not return within " + std::to_string(plan_->probe_timeout.count()) + " ms",
        true);
  }
  set_alarm();
}

void service_watch::set_alarm() {
  std::optional<steady_time> next = beats_ ? beats_->next_time() : std::nullopt;
  if (const auto probe = probes_ ? probes_->next_time() : std::nullopt; probe) {
    next = next ? std::min(*next, *probe) : *probe;
  }
  if (over_ || !next || (alarm_ && *alarm_ <= *next)) {
    return;
  }
  alarm_ = next;
  how_.loop->call_at(*next, [weak = weak_from_this(), at = *next] {
    if (const auto self = weak.lock()) {
      if (self->alarm_ == at) {
        self->alarm_.reset();
      }
      self->look();
    }
  });
}

}  // namespace troupe::detail
