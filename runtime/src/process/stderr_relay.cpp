// SPDX-License-Identifier: BSD-3-Clause
#include "process/stderr_relay.hpp"

#include "troupe/error.hpp"
#include "troupe/log.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <future>
#include <utility>

namespace troupe::detail {
namespace {

constexpr std::size_t tail_lines = 20;
constexpr std::size_t tail_bytes = std::size_t{8} * 1024;
constexpr std::size_t longest_line = PIPE_BUF;
/// If more bytes wait, no worker's pipe is read until this process's stderr has taken some.
constexpr std::size_t enough_outgoing = std::size_t{64} * 1024;
/// The output of dead workers is kept beyond that, up to this many bytes.
constexpr std::size_t most_outgoing = std::size_t{8} << 20;
constexpr std::size_t read_bytes = std::size_t{64} * 1024;
/// The most bytes that are read of one worker before the others are read.
constexpr std::size_t bytes_per_turn = std::size_t{256} * 1024;
/// How long a line without an end waits for the rest of it.
constexpr std::chrono::milliseconds line_patience{50};
constexpr std::chrono::milliseconds write_patience{5};
constexpr std::chrono::milliseconds last_patience{500};
/// Descriptors that a worker may take in this process: socket, pipe, pidfd. `spare_descriptors` are
/// left for the program.
constexpr std::size_t descriptors_per_worker = 3;
constexpr std::size_t spare_descriptors = 64;

bool is_regular_file(int number) {
  struct stat info{};
  return ::fstat(number, &info) == 0 && S_ISREG(info.st_mode);
}

}  // namespace

std::string_view last_lines(std::string_view text, std::size_t lines, std::size_t bytes) {
  std::string_view tail = text.substr(text.size() - std::min(text.size(), bytes));
  // The end of the last line is not the beginning of another.
  std::size_t at = tail.ends_with('\n') ? tail.size() - 1 : tail.size();
  for (std::size_t i = 0; i < lines; ++i) {
    const auto end = at == 0 ? std::string_view::npos : tail.rfind('\n', at - 1);
    if (end == std::string_view::npos) {
      return tail;
    }
    at = end;
  }
  return tail.substr(at + 1);
}

descriptor stderr_relay::open(std::uint64_t worker, std::size_t to_come) {
  int ends[2] = {-1, -1};
  rlimit limit{};
  static_cast<void>(::pipe2(ends, O_CLOEXEC));
  descriptor reader{ends[0]};
  descriptor writer{ends[1]};
  const bool made = reader && writer;
  // The kernel gives the lowest free number, so this estimates how many descriptors are open.
  const std::size_t needed = static_cast<std::size_t>(std::max(reader.number(), writer.number())) +
                             descriptors_per_worker * to_come + spare_descriptors;
  if (!made || ::getrlimit(RLIMIT_NOFILE, &limit) != 0 || needed > limit.rlim_cur) {
    bool tell = false;
    {
      const mutex_guard lock{mutex_};
      tell = !std::exchange(told_short_, true);
    }
    if (tell) {
      log(log_level::warning,
          "descriptors are short (RLIMIT_NOFILE is " + std::to_string(limit.rlim_cur) +
              "): workers write to this program's stderr themselves, and their last lines are not "
              "in worker_lost");
    }
    return {};
  }
  ::fcntl(reader.number(), F_SETFL, O_NONBLOCK);  // this end only
  const int number = reader.number();
  {
    const mutex_guard lock{mutex_};
    sources_[worker].pipe = std::move(reader);
  }
  try {
    loop_.watch(number, [this, worker] { readable(worker); });
  } catch (const error&) {  // no memory to watch it: the worker does without
    const mutex_guard lock{mutex_};
    sources_.erase(worker);
    return {};
  }
  return writer;
}

void stderr_relay::readable(std::uint64_t worker) {
  const mutex_guard lock{mutex_};
  const auto found = sources_.find(worker);
  if (found != sources_.end()) {
    read_some(worker, found->second);
    write_out();
  }
}

void stderr_relay::read_some(std::uint64_t worker, source& from) {
  buffer_.resize(read_bytes);
  std::size_t taken = 0;
  while (from.pipe) {
    if (outgoing_.size() - written_ >= enough_outgoing && !write_some()) {
      from.stalled = true;
      break;
    }
    if (taken >= bytes_per_turn) {
      loop_.post([this, worker] { readable(worker); });
      break;
    }
    const ssize_t count = ::read(from.pipe.number(), buffer_.data(), buffer_.size());
    if (count > 0) {
      taken += static_cast<std::size_t>(count);
      take(from, {buffer_.data(), static_cast<std::size_t>(count)});
    } else if (count == 0) {
      loop_.forget(from.pipe.number());
      from.pipe.reset();
      pass_line(from);
    } else if (errno != EINTR) {
      break;
    }
  }
  if (!from.line.empty() && !from.line_timer && !finished_) {
    from.line_timer = true;
    loop_.call_at(std::chrono::steady_clock::now() + line_patience, [this, worker] {
      const mutex_guard lock{mutex_};
      if (const auto found = sources_.find(worker); found != sources_.end()) {
        found->second.line_timer = false;
        pass_line(found->second);
        write_out();
      }
    });
  }
}

void stderr_relay::take(source& from, std::string_view bytes) {
  from.tail += bytes;
  if (from.tail.size() > 4 * tail_bytes) {
    from.tail = last_lines(from.tail, tail_lines, tail_bytes);
  }
  const auto end = bytes.rfind('\n');
  if (end != std::string_view::npos) {
    pass_line(from);
    outgoing_ += bytes.substr(0, end + 1);
    bytes.remove_prefix(end + 1);
  }
  from.line += bytes;
  if (from.line.size() > longest_line) {
    pass_line(from);
  }
}

void stderr_relay::pass_line(source& from) {
  outgoing_ += from.line;
  from.line.clear();
}

bool stderr_relay::write_some() {
  if (written_ == outgoing_.size()) {
    return true;
  }
  // A write of this size that poll allows does not block, unless another process fills the pipe
  // between poll and write. O_NONBLOCK would change the file for all processes that have it open.
  std::size_t size = outgoing_.size() - written_;
  if (!is_regular_file(STDERR_FILENO)) {
    pollfd wait{STDERR_FILENO, POLLOUT, 0};
    if (::poll(&wait, 1, 0) == 0) {
      return false;
    }
    if (size > PIPE_BUF) {
      const auto end = outgoing_.rfind('\n', written_ + PIPE_BUF - 1);
      size = end == std::string::npos || end < written_ ? PIPE_BUF : end + 1 - written_;
    }
  }
  const ssize_t count = ::write(STDERR_FILENO, outgoing_.data() + written_, size);
  if (count > 0) {
    written_ += static_cast<std::size_t>(count);
  } else if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
    return errno == EINTR;
  } else {
    written_ = outgoing_.size();  // stderr is closed, or no process reads it: dropped
  }
  if (written_ == outgoing_.size()) {
    outgoing_.clear();
    written_ = 0;
  } else if (written_ > enough_outgoing) {
    outgoing_.erase(0, written_);
    written_ = 0;
  }
  return true;
}

void stderr_relay::write_out() {
  while (!outgoing_.empty()) {
    if (!write_some()) {
      if (!write_timer_ && !finished_) {
        write_timer_ = true;
        loop_.call_at(std::chrono::steady_clock::now() + write_patience, [this] {
          const mutex_guard lock{mutex_};
          write_timer_ = false;
          write_out();
        });
      }
      return;
    }
  }
  for (auto& [worker, from] : sources_) {
    if (std::exchange(from.stalled, false)) {
      loop_.post([this, id = worker] { readable(id); });
    }
  }
}

std::string stderr_relay::close(std::uint64_t worker) {
  const mutex_guard lock{mutex_};
  const auto found = sources_.find(worker);
  if (found == sources_.end()) {
    return {};
  }
  source& from = found->second;
  if (from.pipe) {
    loop_.forget(from.pipe.number());
    // Only what is in the pipe now: a process that the worker left behind may go on writing.
    int left = 0;
    ::ioctl(from.pipe.number(), FIONREAD, &left);
    buffer_.resize(read_bytes);
    while (left > 0) {
      const ssize_t count = ::read(from.pipe.number(), buffer_.data(),
                                   std::min(buffer_.size(), static_cast<std::size_t>(left)));
      if (count <= 0) {
        break;
      }
      left -= static_cast<int>(count);
      take(from, {buffer_.data(), static_cast<std::size_t>(count)});
    }
  }
  pass_line(from);
  std::string tail{last_lines(from.tail, tail_lines, tail_bytes)};
  sources_.erase(found);
  if (outgoing_.size() - written_ > most_outgoing) {
    outgoing_.erase(0, outgoing_.size() - enough_outgoing);  // stderr has taken nothing for long
    written_ = 0;
  }
  write_out();
  return tail;
}

void stderr_relay::finish() {
  // On the reactor's thread, where SIGPIPE is blocked: a stderr without a reader must not end this
  // program.
  std::promise<void> done;
  loop_.post([&] {
    pass_everything_on();
    done.set_value();
  });
  done.get_future().wait();
}

void stderr_relay::pass_everything_on() {
  const auto until = std::chrono::steady_clock::now() + last_patience;
  const mutex_guard lock{mutex_};
  finished_ = true;
  for (auto& [worker, from] : sources_) {
    loop_.forget(from.pipe.number());
    pass_line(from);
  }
  sources_.clear();
  while (!outgoing_.empty() && std::chrono::steady_clock::now() < until) {
    if (!write_some()) {
      pollfd wait{STDERR_FILENO, POLLOUT, 0};
      ::poll(&wait, 1, 10);
    }
  }
}

}  // namespace troupe::detail
