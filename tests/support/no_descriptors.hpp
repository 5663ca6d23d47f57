// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace troupe::test {

/// While it lives, this process gets no new descriptors.
class no_descriptors {
 public:
  no_descriptors() {
    ::getrlimit(RLIMIT_NOFILE, &old_);
    // The lowest free number is where the next one would be.
    const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::close(next);
    set(static_cast<rlim_t>(next));
  }
  ~no_descriptors() { set(old_.rlim_cur); }
  no_descriptors(const no_descriptors&) = delete;
  no_descriptors& operator=(const no_descriptors&) = delete;

  void allow(rlim_t more) { set(now_ + more); }

 private:
  void set(rlim_t limit) {
    now_ = limit;
    const rlimit changed{limit, old_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &changed);
  }
  rlimit old_{};
  rlim_t now_ = 0;
};

}  // namespace troupe::test
