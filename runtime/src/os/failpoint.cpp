// SPDX-License-Identifier: BSD-3-Clause
#include "os/failpoint.hpp"

#include "troupe/detail/descriptor.hpp"

#include "os/file_size.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>

namespace troupe::detail::failpoint {

#if defined(TROUPE_FAILPOINTS) && TROUPE_FAILPOINTS
namespace {

struct entry {
  std::array<char, 48> name;
  std::atomic<std::uint32_t> what;
  std::atomic<std::uint32_t> from;  // fires at hits from, from + 1, ... to - 1
  std::atomic<std::uint32_t> to;
  std::atomic<std::uint32_t> count;  // hits since it was armed
  std::atomic<int> value;
};

struct table {
  std::atomic<std::uint32_t> used;
  std::array<entry, 32> entries;
};

struct shared_table {
  int descriptor = -1;
  table* view = nullptr;

  shared_table() {
    descriptor = moved_to_own_number(::memfd_create("troupe-failpoints", MFD_CLOEXEC));
    if (descriptor < 0 || sys::resize(descriptor, sizeof(table)) != 0) {
      throw std::runtime_error{"cannot create the table of fail-points"};
    }
    map();
  }
  void map() {
    void* at = ::mmap(nullptr, sizeof(table), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (at == MAP_FAILED) {
      throw std::runtime_error{"cannot map the table of fail-points"};
    }
    view = static_cast<table*>(at);
  }
};

shared_table& shared() {
  static shared_table instance;
  return instance;
}

entry* find(std::string_view name) {
  table& t = *shared().view;
  // A hostile task may have written to the table's descriptor.
  const auto used = std::min<std::size_t>(t.used.load(std::memory_order_acquire), t.entries.size());
  for (std::uint32_t i = 0; i < used; ++i) {
    if (name == t.entries[i].name.data()) {
      return &t.entries[i];
    }
  }
  return nullptr;
}

void act(action what) {
  switch (what) {
    case action::kill:
      ::kill(::getpid(), SIGKILL);
      break;
    case action::segv:
      ::signal(SIGSEGV, SIG_DFL);
      ::raise(SIGSEGV);
      break;
    case action::exit_zero:
      ::_exit(0);
    case action::stop:
      ::raise(SIGSTOP);
      break;
    case action::throw_error:
      throw std::runtime_error{"injected at a fail-point"};
    case action::hang:
      for (;;) {
        ::pause();
      }
    case action::none:
    case action::give_errno:
      break;
  }
}

}  // namespace

void arm(std::string_view name, action what, std::uint32_t nth, std::uint32_t times, int value) {
  entry* e = find(name);
  if (e == nullptr) {
    table& t = *shared().view;
    const std::uint32_t used = t.used.load();
    if (used >= t.entries.size() || name.size() >= t.entries[0].name.size()) {
      throw std::length_error{"the table of fail-points is full, or the name too long"};
    }
    e = &t.entries[used];
    std::copy(name.begin(), name.end(), e->name.begin());
    t.used.store(used + 1, std::memory_order_release);
  }
  e->what = static_cast<std::uint32_t>(action::none);
  e->count = 0;
  e->from = nth;
  e->to = times > UINT32_MAX - nth ? UINT32_MAX : nth + times;
  e->value = value;
  e->what = static_cast<std::uint32_t>(what);
}

void reset() {
  table& t = *shared().view;
  for (std::uint32_t i = 0; i < std::min<std::size_t>(t.used.load(), t.entries.size()); ++i) {
    t.entries[i].what = static_cast<std::uint32_t>(action::none);
    t.entries[i].count = 0;
  }
}

std::uint32_t hits(std::string_view name) {
  const entry* e = find(name);
  return e == nullptr ? 0 : e->count.load();
}

int hit(std::string_view name) {
  if (shared().view->used.load(std::memory_order_relaxed) == 0) {
    return 0;
  }
  entry* e = find(name);
  if (e == nullptr) {
    return 0;
  }
  const std::uint32_t n = ++e->count;
  const auto what = static_cast<action>(e->what.load());
  if (what == action::none || n < e->from.load() || n >= e->to.load()) {
    return 0;
  }
  if (what == action::give_errno) {
    return e->value.load();
  }
  act(what);
  return 0;
}

int table_descriptor() {
  return shared().descriptor;
}

void adopt_table(int descriptor) {
  ::munmap(shared().view, sizeof(table));
  ::close(shared().descriptor);
  shared().descriptor = descriptor;
  ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  shared().map();
}

#else

void arm(std::string_view, action, std::uint32_t, std::uint32_t, int) {
  throw std::logic_error{"this build has no fail-points: configure with -DTROUPE_FAILPOINTS=ON"};
}
void reset() {}
std::uint32_t hits(std::string_view) {
  return 0;
}
int hit(std::string_view) {
  return 0;
}
int table_descriptor() {
  return -1;
}
void adopt_table(int) {}

#endif

}  // namespace troupe::detail::failpoint
