// SPDX-License-Identifier: BSD-3-Clause
#include "os/library_thread.hpp"

#include "os/failpoint.hpp"
#include "os/sys.hpp"

#include <pthread.h>

#include <system_error>
#include <thread>
#include <utility>

namespace troupe::detail {

void name_this_thread(const std::string& name) noexcept {
  constexpr std::size_t longest = 15;
  char text[longest + 1] = {};
  name.copy(text, longest);
  ::pthread_setname_np(::pthread_self(), text);
}

void start_thread(std::string name, std::function<void()> run) {
  if (const int code = TROUPE_FAILPOINT_ERRNO("thread.start"); code != 0) {
    throw std::system_error{code, std::generic_category(), "cannot start a thread"};
  }
  const sys::blocked_signals while_it_starts;  // it inherits the mask
  std::thread{[name = std::move(name), run = std::move(run)] {
    name_this_thread(name);
    run();
  }}.detach();
}

}  // namespace troupe::detail
