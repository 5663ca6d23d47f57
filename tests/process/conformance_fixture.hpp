// SPDX-License-Identifier: BSD-3-Clause
// What the suites have in common that hold a promise of several kinds: pools of processes by each start method, thread
// pools, and the executors over them.
#pragma once

#include "troupe/executor.hpp"
#include "troupe/thread_pool.hpp"

#include "pool_fixture.hpp"
#include "thread_fixture.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <ranges>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe::test {

// ---- the kinds, with one vocabulary -------------------------------------------------------------

struct how {
  int workers = 2;
  std::size_t max_queued = 0;
  std::string initializer_marks{};  // "": none; "throw": one that throws
};

inline void initialize(const std::string& path) {
  if (path == "throw") {
    throw std::domain_error{"the initializer failed"};
  }
  mark(path);
}

inline pool_options process_options(const how& wanted, start_method start) {
  pool_options made;
  made.workers = wanted.workers;
  made.max_queued = wanted.max_queued;
  made.start = start;
  if (!wanted.initializer_marks.empty()) {
    made.initializer = call(initialize, wanted.initializer_marks);
  }
  return made;
}

inline thread_pool_options thread_options(const how& wanted, start_method /*of processes*/) {
  thread_pool_options made;
  made.workers = wanted.workers;
  made.max_queued = wanted.max_queued;
  if (!wanted.initializer_marks.empty()) {
    made.initializer = [path = wanted.initializer_marks] { initialize(path); };
  }
  return made;
}

/// pool and thread_pool.
template <class Pool>
struct pool_words {
  template <class P, class F, class... Args>
  static auto submit(P&& p, F f, const Args&... args) {
    return p.apply_async(f, args...);
  }
  template <class P, class F, class... Args>
  static auto try_submit(P&& p, F f, const Args&... args) {
    return p.try_apply_async(f, args...);
  }
  template <class P, class F, class Range>
  static auto lazy(P&& p, F f, Range&& range, map_options how = {}) {
    return p.imap(f, std::forward<Range>(range), how);
  }
  template <class P, class F, class Range>
  static auto whole(P&& p, F f, Range&& range, map_options how = {}) {
    return p.map(f, std::forward<Range>(range), how);
  }
  static void close(Pool& p) { p.close(); }
  static void end(Pool& p) {
    p.close();
    p.join();
  }
  static void drop(Pool& p) { p.terminate(); }
};

/// The executors.
template <class Executor>
struct executor_words {
  template <class P, class F, class... Args>
  static auto submit(P&& p, F f, const Args&... args) {
    return p.submit(f, args...);
  }
  template <class P, class F, class... Args>
  static auto try_submit(P&& p, F f, const Args&... args) {
    return p.try_submit(f, args...);
  }
  template <class P, class F, class Range>
  static auto lazy(P&& p, F f, Range&& range, map_options how = {}) {
    return p.map(how, f, std::forward<Range>(range));
  }
  template <class P, class F, class Range>
  static auto whole(P&& p, F f, Range&& range, map_options how = {}) {
    std::vector<std::invoke_result_t<F, std::ranges::range_value_t<Range>>> all;
    for (auto&& result : p.map(how, f, std::forward<Range>(range))) {
      all.push_back(result);
    }
    return all;
  }
  static void close(Executor& p) { p.shutdown({.wait = false}); }
  static void end(Executor& p) { p.shutdown(); }
  static void drop(Executor& p) { p.terminate_workers(); }
};

struct a_pool : pool_words<pool> {
  using type = pool;
  static constexpr bool threads = false;
  static constexpr auto options = process_options;
};
struct a_thread_pool : pool_words<thread_pool> {
  using type = thread_pool;
  static constexpr bool threads = true;
  static constexpr auto options = thread_options;
};
struct a_process_executor : executor_words<process_pool_executor> {
  using type = process_pool_executor;
  static constexpr bool threads = false;
  static constexpr auto options = process_options;
};
struct a_thread_executor : executor_words<thread_pool_executor> {
  using type = thread_pool_executor;
  static constexpr bool threads = true;
  static constexpr auto options = thread_options;
};

// The kinds that differ in nothing but the start method share the code of the tests.
template <class Words, start_method Start = start_method::forkserver>
struct kind {
  using words = Words;
  static constexpr start_method start = Start;
};
using pools = testing::Types<kind<a_pool>, kind<a_pool, start_method::spawn>,
                             kind<a_pool, start_method::fork>, kind<a_thread_pool>>;
struct pool_names {
  template <class Kind>
  static std::string GetName(int place) {
    static const std::vector<std::string> names{"pool_forkserver", "pool_spawn", "pool_fork",
                                                "thread_pool"};
    return names[static_cast<std::size_t>(place)];
  }
};

template <class Words>
class conformance : public pool_test {
 public:
  explicit conformance(start_method start) : start_{start} {}

  using type = typename Words::type;
  type make(const how& wanted = {}) const { return type{Words::options(wanted, start_)}; }

  /// With what all of their options have besides.
  template <class Set>
  type make_with(const Set& set, const how& wanted = {}) const {
    auto options = Words::options(wanted, start_);
    set(options);
    return type{options};
  }

  /// A worker that is held at a gate.
  future<int> hold(type& p) {
    auto held = Words::submit(p, wait_at, file("held"), file("gate"));
    EXPECT_TRUE(eventually([&] { return marks(file("held")) > 0; }));
    return held;
  }
  void open_gate() { mark(file("gate")); }

  using pool_test::file;

 private:
  start_method start_;
};

template <class Kind>
class conformance_suite : public conformance<typename Kind::words> {
 protected:
  conformance_suite() : conformance<typename Kind::words>{Kind::start} {}

  void SetUp() override {
    if (sanitized && Kind::start == start_method::fork) {
      // ThreadSanitizer refuses threads after such a fork, and AddressSanitizer's allocator may
      // have been locked by another thread at that moment. Without sanitizers they run.
      GTEST_SKIP() << "the sanitizers do not stand a fork of a program with threads";
    }
  }
};
}  // namespace troupe::test

/// A test of every kind; its body has `self`, the fixture, and `Words`.
#define TROUPE_CONFORMANCE(suite, sentence)              \
  template <class Words>                                 \
  void sentence(troupe::test::conformance<Words>& self); \
  TYPED_TEST(suite, sentence) {                          \
    sentence<typename TypeParam::words>(*this);          \
  }                                                      \
  template <class Words>                                 \
  void sentence([[maybe_unused]] troupe::test::conformance<Words>& self)
