// SPDX-License-Identifier: BSD-3-Clause

// Processes of the user's own, from the inside.

#include "troupe/codec.hpp"
#include "troupe/detail/memory.hpp"
#include "troupe/this_process.hpp"

#include "os/descriptor_attachment.hpp"
#include "os/leave.hpp"
#include "os/shortage.hpp"
#include "process/throw_trace.hpp"
#include "processes/process_core.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iostream>
#include <string>
#include <utility>

namespace troupe::detail {
namespace {

/// One write, so that what several processes say is not mixed up.
void say_why(const failure& why) {
  std::string text = "troupe: process '" + this_process::name() + "' (pid " +
                     std::to_string(::getpid()) + ") ended by an uncaught exception\n" +
                     report(why);
  if (text.back() != '\n') {
    text += '\n';
  }
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t written = ::write(STDERR_FILENO, rest.data(), rest.size());
    if (written <= 0) {
      return;
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

using failure_listener = void (*)(const failure&);
constinit failure_listener uncaught_listener = nullptr;

int run_target(const bound_call& target) {
  try {
    watched([&] { target(); });
    return 0;
  } catch (...) {
    failure why = capture_failure(std::current_exception());
    why.pid = ::getpid();
    why.stage = "run";
    why.frames = take_throw_trace();
    std::cout.flush();
    std::fflush(stdout);
    if (uncaught_listener != nullptr) {
      uncaught_listener(why);
    }
    say_why(why);
    return 1;
  }
}

}  // namespace

void set_uncaught_listener(void (*listener)(const failure&)) {
  uncaught_listener = listener;
}

void run_process(worker_channel& channel, const frame_header& frame,
                 std::span<const std::byte> payload) {
  if (const std::uint64_t signal = channel.stop_requested_for(); signal != 0) {
    ::raise(static_cast<int>(signal));  // it may have come too early: process_core::signal
  }
  int status = 1;
  try {
    attachment_list attachments = channel.take_attachments(frame.number);
    process_role role;
    parent_process parent;
    std::shared_ptr<const descriptor> of_parent;
    if ((frame.flags & role_has_parent) != 0 && !attachments.empty()) {
      of_parent = std::make_shared<const descriptor>(
          ::fcntl(attachments.back()->number(), F_DUPFD_CLOEXEC, 3));
      attachments.pop_back();
    }
    {
      const attachment_source scope{attachments};
      std::uint64_t size = 0;
      if ((frame.flags & role_in_memory) != 0 && take_front(payload, size) &&
          !attachments.empty()) {
        const descriptor memory{::fcntl(attachments.front()->number(), F_DUPFD_CLOEXEC, 3)};
        if (!memory) {
          throw shortage("troupe: the arguments of this process cannot be read", errno);
        }
        const mapping view = map_foreign(memory, size);
        role = decode<process_role>({view.data(), size});
      } else {
        role = decode<process_role>(payload);
      }
    }
    become_process(role.name, role.daemon,
                   parent_process{role.parent_pid, role.parent_name, std::move(of_parent)});
    runtime::set_depth(role.depth);
    adopt_start_method(role.start);
    // After the handlers that are registered here, and instead of those of the program that this
    // process was forked from.
    leave_in_exit(&runtime::end_current);
    attachments.clear();  // the call keeps what it refers to
    status = run_target(role.target);
  } catch (...) {
    say_why(capture_failure(std::current_exception()));
  }
  runtime::end_current();
  std::cout.flush();
  ::exit(status);
}

}  // namespace troupe::detail
