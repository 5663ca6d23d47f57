// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/progress_bar.hpp"

#include "base/thread_safety.hpp"
#include "futures/made_here.hpp"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>
#include <thread>
#include <utility>

namespace troupe {
namespace detail {
namespace {

std::string short_number(double value) {
  constexpr std::array<std::string_view, 5> units{"", "k", "M", "G", "T"};
  std::size_t unit = 0;
  while (value >= 1000 && unit + 1 < units.size()) {
    value /= 1000;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), value < 10 && unit > 0 ? "%.1f" : "%.0f", value);
  return text.data() + std::string{units[unit]};
}

std::string clock_text(double seconds) {
  const auto whole = static_cast<long>(std::min(seconds, 359'999.0) + 0.5);
  std::array<char, 32> text{};
  if (whole >= 3600) {
    std::snprintf(text.data(), text.size(), "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60,
                  whole % 60);
  } else {
    std::snprintf(text.data(), text.size(), "%ld:%02ld", whole / 60, whole % 60);
  }
  return text.data();
}

}  // namespace

std::string progress_line(const pool_stats& now, const progress_bar_options& how,
                          std::chrono::duration<double> elapsed, std::size_t width) {
  const std::uint64_t done = now.succeeded + now.failed + now.cancelled;
  const std::uint64_t total = std::max(how.total != 0 ? how.total : now.submitted, done);
  const double seconds = elapsed.count();
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  std::string facts = std::to_string(done) + "/" + std::to_string(total);
  if (total > 0) {
    facts += "  " + std::to_string(done * 100 / total) + "%";
  }
  facts += "  " + short_number(rate) + "/s";
  if (done < total && done > 0) {
    facts += "  " + clock_text(static_cast<double>(total - done) / rate) + " left";
  } else {
    facts += "  " + clock_text(seconds);
  }
  facts += "  " + std::to_string(now.workers) + (now.workers == 1 ? " worker" : " workers");
  const auto add = [&](std::uint64_t count, std::string_view what) {
    if (count > 0) {
      facts += "  " + std::to_string(count) + " " + std::string{what};
    }
  };
  add(now.failed, "failed");
  add(now.cancelled, "cancelled");
  add(now.retried, "retried");
  add(now.deaths, now.deaths == 1 ? "death" : "deaths");
  std::string line = how.label.empty() ? "" : how.label + "  ";
  // What is left of the line is the bar; too little is left out.
  constexpr std::size_t least_bar = 10;
  constexpr std::size_t most_bar = 40;
  const std::size_t used = line.size() + facts.size() + 4;
  if (width >= used + least_bar) {
    const std::size_t cells = std::min(most_bar, width - used);
    const std::size_t full = total == 0 ? 0 : static_cast<std::size_t>(done * cells / total);
    line += "[" + std::string(full, '#') + std::string(cells - full, '.') + "]  ";
  }
  line += facts;
  return line.substr(0, std::max<std::size_t>(width, 1));
}

}  // namespace detail

struct progress_bar::state {
  state(std::function<pool_stats()> l, progress_bar_options h)
      : look{std::move(l)}, how{std::move(h)}, terminal{::isatty(how.descriptor) == 1} {}

  [[nodiscard]] pool_stats since_begin() const {
    pool_stats now = look();
    now.submitted -= before.submitted;
    now.succeeded -= before.succeeded;
    now.failed -= before.failed;
    now.cancelled -= before.cancelled;
    now.retried -= before.retried;
    now.deaths -= before.deaths;
    return now;
  }

  void draw(bool last) const {
    std::size_t width = 200;
    winsize size{};
    if (terminal && ::ioctl(how.descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
      width = size.ws_col - 1U;
    }
    std::string line =
        detail::progress_line(since_begin(), how, std::chrono::steady_clock::now() - begun, width);
    if (terminal) {
      // To the beginning, and what was there before is erased behind the new end.
      line = "\r" + line + "\x1b[K" + (last ? "\n" : "");
    } else {
      line += '\n';
    }
    // A closed or full descriptor is the caller's business; a bar is not worth an error.
    static_cast<void>(!::write(how.descriptor, line.data(), line.size()));
  }

  void run() {
    constexpr int looks_per_line = 50;
    int looks = 0;
    while (!ends_within(how.interval)) {
      if (terminal || ++looks % looks_per_line == 0) {
        draw(false);
      }
    }
  }

  bool ends_within(std::chrono::milliseconds time) {
    const auto until = std::chrono::steady_clock::now() + time;
    detail::mutex_lock lock{mutex};
    while (!ending && wake.wait_until(lock, until)) {
    }
    return ending;
  }

  std::function<pool_stats()> look;
  progress_bar_options how;
  const pid_t process = ::getpid();
  bool terminal;
  pool_stats before = look();
  std::chrono::steady_clock::time_point begun = std::chrono::steady_clock::now();
  detail::guarded_mutex mutex;
  detail::guarded_condition wake;
  bool ending TROUPE_GUARDED_BY(mutex) = false;
  std::thread thread;
};

progress_bar::progress_bar(std::function<pool_stats()> look, progress_bar_options how)
    : state_{std::make_unique<state>(std::move(look), std::move(how))} {
  // The program's signal handlers must not run there.
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  state_->thread = std::thread{[s = state_.get()] { s->run(); }};
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

progress_bar::~progress_bar() {
  if (state_->process != ::getpid()) {
    detail::keep_for_ever(std::move(state_));  // its thread is that of the parent of this process
    return;
  }
  {
    const detail::mutex_guard lock{state_->mutex};
    state_->ending = true;
  }
  state_->wake.notify_all();
  state_->thread.join();
  state_->draw(true);
}

}  // namespace troupe
