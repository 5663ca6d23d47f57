// SPDX-License-Identifier: BSD-3-Clause
#include "progress.hpp"

#include "format.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <iostream>
#include <sstream>

namespace census {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view erase_line = "\r\033[K";

bool stderr_is_terminal() {
  return ::isatty(STDERR_FILENO) == 1;
}

std::size_t terminal_columns() {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  return known ? size.ws_col : 80;
}

}  // namespace

progress::progress(const workload& all, const troupe::pool* pool)
    : all_{all},
      pool_{pool},
      terminal_{stderr_is_terminal()},
      begun_{std::chrono::steady_clock::now()},
      thread_{[this](std::stop_token stop) { show(std::move(stop)); }} {}

progress::~progress() {
  thread_.request_stop();
  thread_.join();
  if (terminal_) {
    std::cerr << erase_line << std::flush;
  }
}

void progress::begin_pass(std::string_view name) {
  const std::scoped_lock lock{mutex_};
  pass_ = name;
  begun_ = std::chrono::steady_clock::now();
  earlier_files_ += files_.exchange(0);
  bytes_ = 0;
}

void progress::show(std::stop_token stop) {
  std::condition_variable_any nobody_notifies;  // but the stop token
  std::unique_lock lock{mutex_};
  while (!nobody_notifies.wait_for(lock, stop, terminal_ ? 100ms : 1000ms,
                                   [&] { return stop.stop_requested(); })) {
    std::string text = line();
    if (terminal_) {
      // A line that wraps could not be rewritten.
      text.resize(std::min(text.size(), terminal_columns() - 1));
      std::cerr << std::string{erase_line}.append(text) << std::flush;
    } else {
      std::cerr << text.append("\n");
    }
  }
}

std::string progress::line() const {
  const std::uint64_t files = files_;
  const std::uint64_t bytes = bytes_;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
  std::ostringstream text;
  text << pass_ << ": " << files << '/' << all_.files << ", "
       << decimal(static_cast<double>(files) / seconds, 0) << " tasks/s, "
       << bytes_text(static_cast<double>(bytes) / seconds) << "/s";
  if (bytes > 0 && all_.bytes > bytes) {
    text << ", ETA "
         << decimal(seconds / static_cast<double>(bytes) * static_cast<double>(all_.bytes - bytes),
                    1)
         << " s";
  }
  if (pool_ != nullptr) {
    const troupe::pool_stats stats = pool_->stats();
    text << ", " << stats.workers << " workers, " << stats.deaths << " deaths";
  }
  return text.str();
}

void say(std::string_view text) {
  // In one piece: the progress line is written by another thread.
  std::cerr << std::string{stderr_is_terminal() ? erase_line : ""}.append(text).append("\n");
}

}  // namespace census
