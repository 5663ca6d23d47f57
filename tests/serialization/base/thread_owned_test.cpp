// SPDX-License-Identifier: BSD-3-Clause
#include "base/thread_owned.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <thread>

namespace troupe::detail {
namespace {

int living = 0;

struct counted {
  counted() { ++living; }
  ~counted() { --living; }
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
  int value = 0;
};
struct first_tag;
struct second_tag;
using first = thread_owned<counted, first_tag>;
using second = thread_owned<counted, second_tag>;

/// A thread that touches it first destroys it last.
struct last_of_thread {
  std::function<void()> look;
  void touch() { look = nullptr; }
  ~last_of_thread() {
    if (look) {
      look();
    }
  }
};
thread_local last_of_thread last;

TEST(ThreadOwned, IsOneObjectForEachThreadAndTag) {
  first::get()->value = 1;
  second::get()->value = 2;
  EXPECT_EQ(first::get()->value, 1);
  EXPECT_EQ(second::get()->value, 2);
  std::thread{[] { EXPECT_EQ(first::get()->value, 0) << "another thread has its own"; }}.join();
}

TEST(ThreadOwned, IsNullBehindItsDestruction) {
  const int before = living;
  bool looked = false;
  std::thread{[&] {
    last.touch();
    EXPECT_EQ(living, before);
    EXPECT_NE(first::get(), nullptr);
    EXPECT_EQ(living, before + 1);
    last.look = [&] {
      looked = true;
      EXPECT_EQ(living, before) << "it is destroyed with the thread's other objects";
      EXPECT_EQ(first::get(), nullptr);
      EXPECT_EQ(first::get(), nullptr) << "and not made again";
    };
  }}.join();
  EXPECT_TRUE(looked);
  EXPECT_EQ(living, before);
}

TEST(ThreadOwned, IsMadeForTheFirstTimeAlsoWhileAThreadEnds) {
  const int before = living;
  std::thread{[&] {
    last.touch();
    last.look = [] { EXPECT_NE(second::get(), nullptr); };
  }}.join();
  EXPECT_EQ(living, before) << "and is destroyed as well";
}

TEST(ThreadOwned, IsNullInItsOwnDestructor) {
  struct asks {
    ~asks() { *found = thread_owned<asks>::get(); }
    asks** found = nullptr;
  };
  auto* found = reinterpret_cast<asks*>(1);
  std::thread{[&] { thread_owned<asks>::get()->found = &found; }}.join();
  EXPECT_EQ(found, nullptr);
}

}  // namespace
}  // namespace troupe::detail
