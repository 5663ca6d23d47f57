// SPDX-License-Identifier: BSD-3-Clause

// Processes of the user's own, seen from the process that starts them.

#include "troupe/process.hpp"

#include "troupe/codec.hpp"
#include "troupe/detail/memory.hpp"
#include "troupe/log.hpp"

#include "channel/attachment_limit.hpp"
#include "os/descriptor_attachment.hpp"
#include "os/shortage.hpp"
#include "processes/process_core.hpp"

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

namespace troupe::detail {
namespace {

/// Larger calls travel in memory of their own.
constexpr std::size_t max_inline_role = 16 * 1024;

std::string next_name() {
  // A forked child counts anew: its own name stands before the number.
  static std::atomic<std::int64_t> counter_of{0};
  static std::atomic<std::uint64_t> counter{0};
  if (counter_of.exchange(::getpid()) != ::getpid()) {
    counter = 0;
  }
  const std::string number = std::to_string(++counter);
  const auto parent = this_process::parent();
  return parent ? this_process::name() + ":" + number : "process-" + number;
}

process_options named(process_options options) {
  if (options.name.empty()) {
    options.name = next_name();
  }
  return options;
}

[[noreturn]] void wrong_state(const std::string& name, const std::string& what) {
  throw error{errc::wrong_state, task_ran::no, "troupe: process '" + name + "' " + what};
}

}  // namespace

process_core::process_core(process_options options, bound_call target)
    : options_{named(std::move(options))}, target_{std::move(target)}, maker_{::getpid()} {}

process_core::~process_core() = default;

void process_core::check_owner() const {
  if (::getpid() != maker_) {
    wrong_state(options_.name, "was made by process " + std::to_string(maker_) +
                                   ", and only there it can be used");
  }
}

void process_core::check_started(const char* what) const {
  if (state_ == state::closed) {
    wrong_state(options_.name, std::string{"is closed: it cannot be "} + what);
  }
  if (state_ == state::fresh || state_ == state::starting) {
    wrong_state(options_.name, std::string{"cannot be "} + what + " before it was started");
  }
}

void process_core::hand_over(supervisor_channel& channel) {
  process_role role{options_.name,
                    options_.daemon,
                    this_process::name(),
                    this_process::pid(),
                    runtime::depth(),
                    static_cast<std::uint64_t>(get_start_method()),
                    target_};
  attachment_list attachments;
  byte_buffer bytes;
  {
    const attachment_collector scope{attachments};
    encode(bytes, role);
  }
  std::uint16_t flags = 0;
  const std::uint64_t size = bytes.size();
  std::span<const std::byte> payload = bytes.bytes();
  if (size > max_inline_role) {
    descriptor memory = create_memory("troupe-process", size);
    std::memcpy(map_memory(memory, 0, size).data(), bytes.data(), size);
    attachments.insert(attachments.begin(), std::make_shared<const descriptor_attachment>(
                                                new_attachment_id(), std::move(memory)));
    flags |= role_in_memory;
    payload = std::as_bytes(std::span{&size, 1});
  }
  descriptor self{static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0))};
  if (self) {
    attachments.push_back(
        std::make_shared<const descriptor_attachment>(new_attachment_id(), std::move(self)));
    flags |= role_has_parent;
  }
  if (attachments.size() > max_attachments) {
    throw too_many_attachments("troupe: the arguments of process '" + options_.name + "'",
                               task_ran::no);
  }
  if (const int code = channel.send_attachments(0, attachments); code != 0) {
    throw shortage("troupe: what process '" + options_.name + "' refers to could not be sent to it",
                   code);
  }
  std::byte* const room = channel.begin_frame(payload.size());
  std::memcpy(room, payload.data(), payload.size());
  channel.publish({static_cast<std::uint32_t>(payload.size()), frame_kind::become, flags, 0});
}

void process_core::start() {
  check_owner();
  {
    const mutex_guard lock{mutex_};
    if (state_ != state::fresh) {
      wrong_state(options_.name, "was started before: make another one");
    }
    state_ = state::starting;
    start_code_ = 0;
  }
  const auto give_up = [this] {
    const mutex_guard lock{mutex_};
    state_ = state::fresh;
    channel_.reset();
  };
  try {
    runtime_ = runtime::current();
    runtime_->add(shared_from_this(), &end_processes);
    auto channel = std::make_unique<supervisor_channel>();
    hand_over(*channel);
    channel_ends ends = channel->take_worker_ends();
    const std::uint64_t worker = runtime_->enroll(shared_from_this());
    {
      const mutex_guard lock{mutex_};
      channel_ = std::move(channel);
      worker_ = worker;
    }
    runtime_->processes().launch(worker, options_.start.value_or(get_start_method()),
                                 std::move(ends), true);
  } catch (...) {
    if (runtime_) {
      runtime_->remove(this);
    }
    give_up();
    throw;
  }
  int code = 0;
  {
    mutex_lock lock{mutex_};
    while (state_ == state::starting && start_code_ == 0) {
      changed_.wait(lock);
    }
    code = start_code_;
  }
  if (code != 0) {
    runtime_->remove(this);
    give_up();
    throw error{
        errc::spawn_failed, task_ran::no,
        "troupe: process '" + options_.name + "' could not be started: " + shortage_text(code)};
  }
  target_ = {};
  if (!told_) {
    list_at_root(shared_from_this(), options_.name);
  }
}

child_status process_core::seen() const {
  child_status status;
  status.name = options_.name;
  status.kind = "process";
  const mutex_guard lock{mutex_};
  status.phase = state_ == state::running ? child_phase::running : child_phase::stopped;
  status.pid = pid_;
  return status;
}

void process_core::started(std::uint64_t /*worker*/, std::int64_t pid, descriptor pidfd) {
  const mutex_guard lock{mutex_};
  if (state_ == state::starting) {
    state_ = state::running;
    pid_ = pid;
    pidfd_ = std::move(pidfd);
    changed_.notify_all();
  }
}

void process_core::start_failed(std::uint64_t worker, int code) {
  runtime_->dismiss(worker);
  const mutex_guard lock{mutex_};
  start_code_ = code == 0 ? EAGAIN : code;
  changed_.notify_all();
}

void process_core::ended(std::uint64_t worker, const exit_notice& notice) {
  const auto keep = shared_from_this();
  runtime_->dismiss(worker);
  std::string exec_failed;
  std::optional<crash_report> crash;
  {
    const mutex_guard lock{mutex_};
    if (channel_) {
      channel_->read_socket();
      exec_failed = channel_->take_hello();
      crash = channel_->crash();
      channel_.reset();
    }
    if (notice.kind == 2) {
      status_ = killed_by{notice.value};
    } else if (notice.kind == 1) {
      status_ = exited{notice.value};
    } else if (notice.with_server) {
      status_ = killed_by{SIGKILL};
    }
    if (!pidfd_) {
      pidfd_ = descriptor{::eventfd(1, EFD_CLOEXEC)};  // readable
    }
    pid_ = notice.pid;
    state_ = state::ended;
    changed_.notify_all();
  }
  if (exec_failed.starts_with("exec failed:")) {
    log(log_level::error, "process '" + options_.name +
                              "' could not execute this program again: errno " +
                              exec_failed.substr(exec_failed.find(':') + 1));
  }
  runtime_->remove(this);
  if (told_) {
    told_(notice, crash);
  }
}

bool process_core::wait(const deadline& until) const {
  check_owner();
  mutex_lock lock{mutex_};
  check_started("joined");
  bool in_time = true;
  while (state_ != state::ended && state_ != state::closed && in_time) {
    if (until) {
      in_time = changed_.wait_until(lock, *until);
    } else {
      changed_.wait(lock);
    }
  }
  return state_ == state::ended || state_ == state::closed;
}

bool process_core::is_alive() const {
  check_owner();
  const mutex_guard lock{mutex_};
  if (state_ == state::closed) {
    wrong_state(options_.name, "is closed");
  }
  return state_ == state::running;
}

std::optional<troupe::exit_status> process_core::status() const {
  check_owner();
  const mutex_guard lock{mutex_};
  return status_;
}

std::int64_t process_core::pid() const {
  check_owner();
  const mutex_guard lock{mutex_};
  return pid_;
}

int process_core::sentinel() const {
  check_owner();
  const mutex_guard lock{mutex_};
  check_started("watched");
  if (!pidfd_) {
    throw error{errc::resource_exhausted, task_ran::no,
                "troupe: process '" + options_.name +
                    "' cannot be watched: there was no free descriptor for it when it was started"};
  }
  return pidfd_.number();
}

void process_core::signal(int number) {
  check_owner();
  std::uint64_t worker = 0;
  {
    const mutex_guard lock{mutex_};
    check_started("signalled");
    if (state_ != state::running) {
      return;
    }
    worker = worker_;
    if (channel_ && (number == SIGTERM || number == SIGINT)) {
      // Before the process has undone what static initializers do with signals, one may be lost.
      channel_->request_stop(static_cast<std::uint64_t>(number));
    }
  }
  runtime_->processes().kill(worker, number);
}

void process_core::close() {
  check_owner();
  const mutex_guard lock{mutex_};
  if (state_ == state::running || state_ == state::starting) {
    wrong_state(options_.name, "still runs: join it before it is closed");
  }
  state_ = state::closed;
  pidfd_.reset();
}

namespace {

/// Of the processes that the runtime knows, which are all of them of this kind.
std::vector<std::shared_ptr<process_core>> cores_of(const runtime::running_processes& running) {
  std::vector<std::shared_ptr<process_core>> cores;
  for (const auto& one : running) {
    cores.push_back(std::static_pointer_cast<process_core>(one));
  }
  return cores;
}

}  // namespace

void end_processes(const runtime::running_processes& left,
                   std::chrono::milliseconds limit) noexcept {
  const auto end = [](process_core& one) {
    one.signal(SIGTERM);
    if (!one.wait(deadline_after(one.options().grace))) {
      one.signal(SIGKILL);
      one.wait(std::nullopt);
    }
  };
  try {
    const auto running = cores_of(left);
    for (const auto& one : running) {
      if (one->options().daemon) {
        one->signal(SIGTERM);  // all of them, before the first is waited for
      }
    }
    for (const auto& one : running) {
      if (one->options().daemon) {
        end(*one);
      }
    }
    const auto until = deadline_after(limit);
    for (const auto& one : running) {
      if (!one->options().daemon && !one->wait(until)) {
        log(log_level::warning, "process '" + one->name() + "' (pid " + std::to_string(one->pid()) +
                                    ") still runs " + std::to_string(limit.count()) +
                                    " ms after the end of the program that started it: it is "
                                    "ended (see system_options::join_timeout)");
        end(*one);
      }
    }
  } catch (const std::exception& problem) {
    log(log_level::error, std::string{"ending processes: "} + problem.what());
  }
}

std::vector<std::shared_ptr<process_core>> active_processes() {
  return cores_of(runtime::current()->running());
}

process_ptr make_process(process_options options, bound_call target) {
  return std::make_shared<process_core>(std::move(options), std::move(target));
}

void start_process(const process_ptr& process) {
  process->start();
}

}  // namespace troupe::detail

namespace troupe {

const detail::process_ptr& process::core() const {
  if (!core_) {
    throw error{errc::no_state, task_ran::no, "troupe: this `process` is a handle of nothing"};
  }
  return core_;
}

bool process::wait(const detail::deadline& until) const {
  return core()->wait(until);
}
bool process::is_alive() const {
  return core()->is_alive();
}
std::optional<troupe::exit_status> process::exit_status() const {
  return core()->status();
}
std::int64_t process::pid() const {
  return core()->pid();
}
const std::string& process::name() const {
  return core()->name();
}
bool process::is_daemon() const {
  return core()->options().daemon;
}
int process::sentinel() const {
  return core()->sentinel();
}
void process::terminate() const {
  core()->signal(SIGTERM);
}
void process::kill() const {
  core()->signal(SIGKILL);
}
void process::interrupt() const {
  core()->signal(SIGINT);
}
void process::close() {
  core()->close();
}

std::vector<process_info> active_children() {
  std::vector<process_info> children;
  for (const auto& one : detail::active_processes()) {
    if (one->pid() != 0 && !one->status()) {
      children.push_back({one->pid(), one->name(), one->options().daemon});
    }
  }
  return children;
}

}  // namespace troupe
