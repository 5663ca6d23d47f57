// SPDX-License-Identifier: BSD-3-Clause
#include "os/library_thread.hpp"

#include "troupe/detail/descriptor.hpp"

#include "os/failpoint.hpp"
#include "os/sys.hpp"

#include <pthread.h>

#include <system_error>
#include <thread>
#include <utility>

namespace troupe::detail {
namespace {

// Each is the `descriptor_table` of the process where it holds: a child that the library forks from
// such a thread is none.
constinit thread_local std::uint32_t library_thread_in = 0;
constinit thread_local std::uint32_t no_user_code_in = 0;

void name_thread(pthread_t which, const std::string& name) noexcept {
  constexpr std::size_t longest = 15;
  char text[longest + 1] = {};
  name.copy(text, longest);
  ::pthread_setname_np(which, text);
}

}  // namespace

bool is_library_thread() noexcept {
  return library_thread_in == descriptor_table;
}

void note_library_thread() noexcept {
  library_thread_in = descriptor_table;
}

no_user_code::no_user_code() noexcept : before_{no_user_code_in} {
  no_user_code_in = descriptor_table;
}
no_user_code::~no_user_code() {
  no_user_code_in = before_;
}
bool no_user_code::is_here() noexcept {
  return no_user_code_in == descriptor_table;
}

void name_this_thread(const std::string& name) noexcept {
  name_thread(::pthread_self(), name);
}

void start_thread(const std::string& name, std::function<void()> run) {
  if (const int code = TROUPE_FAILPOINT_ERRNO("thread.start"); code != 0) {
    throw std::system_error{code, std::generic_category(), "cannot start a thread"};
  }
  const sys::blocked_signals while_it_starts;  // it inherits the mask
  std::thread made{[run = std::move(run)] {
    note_library_thread();
    run();
  }};
  name_thread(made.native_handle(), name);  // here, so that it has its name when this returns
  made.detach();
}

}  // namespace troupe::detail
