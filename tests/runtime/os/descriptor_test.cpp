// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/descriptor.hpp"

#include "troupe/connection.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/detail/memory.hpp"
#include "troupe/listener.hpp"
#include "troupe/queue.hpp"
#include "troupe/shared_memory.hpp"
#include "troupe/value.hpp"

#include "channel/segment.hpp"
#include "os/failpoint.hpp"
#include "os/reactor.hpp"
#include "support/forked.hpp"
#include "support/no_leaks.hpp"
#include "support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

namespace troupe {
namespace {

using detail::descriptor;
using detail::mapping;
using test::forked;

struct Descriptor : test::no_leaks {
  // Which stays.
  static void SetUpTestSuite() { detail::failpoint::table_descriptor(); }
};

int make() {
  return ::open("/dev/null", O_RDWR | O_CLOEXEC);
}
bool is_open(int number) {
  return ::fcntl(number, F_GETFD) >= 0;
}
void close_standard_streams() {
  for (int number = 0; number < 3; ++number) {
    ::close(number);
  }
}
int how_many_are_open() {
  return static_cast<int>(is_open(0)) + static_cast<int>(is_open(1)) + static_cast<int>(is_open(2));
}

TEST_F(Descriptor, LeavesTheNumbersOfClosedStandardStreamsFree) {
  forked child{[] {
    close_standard_streams();
    descriptor one{make()};
    descriptor two;
    two.reset(make());
    const bool good = one.number() > 2 && two.number() > 2 && how_many_are_open() == 0 &&
                      ::fcntl(one.number(), F_GETFD) == FD_CLOEXEC;
    return good ? 0 : 1;
  }};
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(Descriptor, IsNothingWhereOnlyANumberOfAStandardStreamIsLeft) {
  forked child{[] {
    close_standard_streams();
    const rlimit three{3, 3};
    ::setrlimit(RLIMIT_NOFILE, &three);
    const descriptor none{make()};
    return !none && errno == EMFILE && how_many_are_open() == 0 ? 0 : errno;
  }};
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(Descriptor, NothingThatIsMadeTakesANumberOfAStandardStream) {
  const test::temp_dir dir;
  forked child{[&] {
    close_standard_streams();
    std::vector<int> taken;
    const auto check = [&](int which) {
      if (how_many_are_open() != 0) {
        taken.push_back(which);
      }
    };
    auto [a, b] = pipe();
    check(1);
    a.send_descriptor(a.native_handle());
    const int came = b.recv_descriptor();
    check(2);
    queue<connection> q;
    q.put(a);
    check(3);
    const connection again = q.get();
    check(4);
    const value<int> number{5};
    check(5);
    const shared_memory memory{100};
    const shared_memory_view view{memory};
    check(6);
    const listener door{(dir.path() / "door").string()};
    check(7);
    return came > 2 && taken.empty() ? 0 : taken.empty() ? 50 : taken.front();
  }};
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(Descriptor, LowNumbersAreTakenForAMomentAndThenFree) {
  forked child{[] {
    ::close(0);
    ::close(2);
    int meanwhile = -1;
    {
      const detail::low_numbers_taken taken;
      meanwhile = make();
    }
    const bool good = meanwhile > 2 && !is_open(0) && is_open(1) && !is_open(2);
    return good ? 0 : 1;
  }};
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(Descriptor, LowNumbersThatOtherCodeTookMeanwhileStay) {
  forked child{[] {
    ::close(0);
    {
      const detail::low_numbers_taken taken;
      const descriptor file{make()};
      ::dup2(file.number(), 0);
    }
    return is_open(0) ? 0 : 1;
  }};
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(Descriptor, OwnsNothingOnceWhatWasInheritedIsClosed) {
  forked child{[] {
    descriptor old{make()};
    const int number = old.number();
    // What a forked child does, without the closing.
    ++detail::descriptor_table;
    if (old || old.number() >= 0 || old.release() >= 0) {
      return 1;
    }
    descriptor other{::fcntl(number, F_DUPFD_CLOEXEC, 3)};
    old = descriptor{make()};
    if (!is_open(number) || !old) {
      return 2;
    }
    return old.number() != number && other ? 0 : 3;
  }};
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(Descriptor, WhatIsKeptInChildrenIsNoLongerWhenItIsClosed) {
  descriptor one{make()};
  const int number = one.number();
  const auto is_kept = [&] {
    const auto all = detail::kept_in_children();
    return std::find(all.begin(), all.end(), number) != all.end();
  };
  EXPECT_FALSE(is_kept());
  one.keep_in_children();
  EXPECT_TRUE(is_kept());
  descriptor moved = std::move(one);
  EXPECT_TRUE(is_kept());
  EXPECT_EQ(moved.number(), number);
  moved.reset();
  EXPECT_FALSE(is_kept());
}

TEST_F(Descriptor, AMappingThatAChildDoesNotHaveLeavesItsAddressesAlone) {
  auto [memory, first] = detail::create_payload_memory(4096);
  auto view = std::make_unique<mapping>(std::move(first));
  forked child{[&] {
    if (view->is_here()) {
      return 1;
    }
    std::byte* const at = view->data();
    // What happens to be mapped there later.
    void* const mine = ::mmap(at, 4096, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (mine != at) {
      return 2;
    }
    view.reset();
    *at = std::byte{7};
    return static_cast<int>(*at) == 7 ? 0 : 3;
  }};
  EXPECT_EQ(child.wait(), 0);
  EXPECT_TRUE(view->is_here());
}

}  // namespace
}  // namespace troupe
