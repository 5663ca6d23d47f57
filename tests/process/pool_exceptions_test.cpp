// SPDX-License-Identifier: BSD-3-Clause
// What the caller sees when a task, or encoding and decoding around it, throws.
#include "pool_fixture.hpp"

#include <cerrno>
#include <exception>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <memory>
#include <new>
#include <optional>
#include <regex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <typeinfo>
#include <variant>
#include <vector>

namespace troupe::test {
namespace {

struct PoolExceptions : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(PoolExceptions);

/// What `call` throws as an E, or null.
template <class E, class Call>
std::unique_ptr<failure> caught_as(Call&& call, std::string* text = nullptr) {
  try {
    static_cast<void>(call());
  } catch (const E& thrown) {
    if (text != nullptr) {
      *text = thrown.what();
    }
    if (const auto* info = dynamic_cast<const remote_error_info*>(&thrown)) {
      return std::make_unique<failure>(info->as_failure());
    }
    ADD_FAILURE() << "no remote_error_info: " << thrown.what();
  } catch (const std::exception& thrown) {
    ADD_FAILURE() << "another type: " << typeid(thrown).name() << ": " << thrown.what();
  }
  return nullptr;
}

template <class E>
int throw_text(const std::string& text) {
  throw E{text};
}
template <class E>
int throw_default() {
  throw E{};
}

template <class E>
void expect_same_type(pool& p) {
  SCOPED_TRACE(typeid(E).name());
  std::string text;
  const auto info = caught_as<E>([&] { return p.apply(throw_text<E>, "what it said"); }, &text);
  ASSERT_NE(info, nullptr);
  EXPECT_EQ(text, "what it said");
  EXPECT_EQ(info->text, "what it said");
  EXPECT_EQ(pids_of(p).count(info->pid), 1U) << "pid " << info->pid << " is no worker";
  EXPECT_GT(info->task, 0U);
  EXPECT_EQ(info->attempt, 1U);
}

template <class E>
void expect_same_default(pool& p) {
  SCOPED_TRACE(typeid(E).name());
  EXPECT_NE(caught_as<E>([&] { return p.apply(throw_default<E>); }), nullptr);
}

TEST_P(PoolExceptions, StandardTypesArriveAsThemselvesWithTheirOrigin) {
  pool p{options()};
  expect_same_type<std::logic_error>(p);
  expect_same_type<std::domain_error>(p);
  expect_same_type<std::invalid_argument>(p);
  expect_same_type<std::length_error>(p);
  expect_same_type<std::out_of_range>(p);
  expect_same_type<std::runtime_error>(p);
  expect_same_type<std::range_error>(p);
  expect_same_type<std::overflow_error>(p);
  expect_same_type<std::underflow_error>(p);
  expect_same_default<std::bad_alloc>(p);
  expect_same_default<std::bad_array_new_length>(p);
  expect_same_default<std::bad_cast>(p);
  expect_same_default<std::bad_typeid>(p);
  expect_same_default<std::bad_function_call>(p);
  expect_same_default<std::bad_weak_ptr>(p);
  expect_same_default<std::bad_optional_access>(p);
  expect_same_default<std::bad_variant_access>(p);
  EXPECT_EQ(p.stats().deaths, 0U);
}

TEST_P(PoolExceptions, ErrorCodesArePartOfWhatArrives) {
  pool p{options()};
  try {
    p.apply([] { throw std::system_error{ENOENT, std::generic_category(), "opening"}; });
    FAIL() << "nothing was thrown";
  } catch (const std::system_error& thrown) {
    EXPECT_EQ(thrown.code(), std::errc::no_such_file_or_directory);
  }
  try {
    p.apply([] {
      throw std::filesystem::filesystem_error{"copy", "/from", "/to",
                                              std::make_error_code(std::errc::permission_denied)};
    });
    FAIL() << "nothing was thrown";
  } catch (const std::filesystem::filesystem_error& thrown) {
    EXPECT_EQ(thrown.path1(), "/from");
    EXPECT_EQ(thrown.path2(), "/to");
    EXPECT_EQ(thrown.code(), std::errc::permission_denied);
  }
}

struct out_of_paint {
  std::string colour;
};
struct odd_failure : std::exception {
  odd_failure() = default;
  odd_failure(const odd_failure& /*other*/) : std::exception{} {
    throw std::runtime_error{"must not be copied"};
  }
  odd_failure& operator=(const odd_failure&) = delete;
  ~odd_failure() override = default;
  [[nodiscard]] const char* what() const noexcept override { return "odd"; }
};
struct derived_from_range : std::out_of_range {
  using std::out_of_range::out_of_range;
};

TEST_P(PoolExceptions, AnythingElseArrivesAsRemoteErrorWithTypeAndText) {
  pool p{options()};
  const auto said = [&](auto task) -> std::string {
    try {
      p.apply(task);
    } catch (const remote_error& thrown) {
      EXPECT_EQ(thrown.code(), errc::task_failed);
      EXPECT_EQ(pids_of(p).count(thrown.pid()), 1U);
      return thrown.type_name() + "|" + thrown.message();
    } catch (const std::exception& thrown) {
      return std::string{"not a remote_error: "} + thrown.what();
    }
    return "nothing";
  };
  EXPECT_EQ(said([] { throw 42; }).substr(0, 4), "int|");
  EXPECT_NE(said([] { throw out_of_paint{"blue"}; }).find("out_of_paint|"), std::string::npos);
  EXPECT_NE(said([] { throw std::string{"text"}; }).find("string"), std::string::npos);
  EXPECT_EQ(p.stats().deaths, 0U);
  EXPECT_EQ(p.apply(square, 2), 4);
}

TEST_P(PoolExceptions, AnExceptionWhoseCopyConstructorThrowsFailsOnlyItsTask) {
  pool p{options(1)};
  const auto before = pids_of(p);
  try {
    p.apply([] {
      // Made in place by std::make_exception_ptr's like: thrown by rethrowing a reference.
      throw odd_failure{};  // elided: constructed right where it is thrown
    });
    FAIL() << "nothing was thrown";
  } catch (const std::exception& thrown) {
    EXPECT_NE(std::string{thrown.what()}.find("odd"), std::string::npos) << thrown.what();
  }
  EXPECT_EQ(p.apply(square, 2), 4);
  EXPECT_EQ(pids_of(p), before);
}

TEST_P(PoolExceptions, ATypeDerivedFromAStandardOneNamesItself) {
  pool p{options()};
  try {
    p.apply([] { throw derived_from_range{"index 9"}; });
    FAIL() << "nothing was thrown";
  } catch (const remote_error_info& thrown) {
    EXPECT_NE(thrown.type_name().find("derived_from_range"), std::string::npos);
    EXPECT_EQ(thrown.message(), "index 9");
  }
}

void throw_nested() {
  try {
    try {
      throw std::out_of_range{"innermost"};
    } catch (...) {
      std::throw_with_nested(std::invalid_argument{"middle"});
    }
  } catch (...) {
    std::throw_with_nested(std::runtime_error{"outermost"});
  }
}

TEST_P(PoolExceptions, NestedExceptionsAreNestedHereToo) {
  pool p{options()};
  try {
    p.apply(throw_nested);
    FAIL() << "nothing was thrown";
  } catch (const std::runtime_error& outer) {
    const auto& info = dynamic_cast<const remote_error_info&>(outer);
    EXPECT_EQ(info.message(), "outermost");
    ASSERT_EQ(info.causes().size(), 2U);
    EXPECT_EQ(info.causes()[0].text, "middle");
    EXPECT_EQ(info.causes()[1].text, "innermost");
    try {
      std::rethrow_if_nested(outer);
      FAIL() << "nothing is nested in it";
    } catch (const std::exception& middle) {
      EXPECT_NE(std::string{middle.what()}.find("middle"), std::string::npos);
    }
  }
}

int fail_on_multiples(int x) {
  if (x % 10 == 7) {
    throw std::out_of_range{"item " + std::to_string(x)};
  }
  return x;
}

void throw_long_text(std::size_t bytes) {
  throw std::runtime_error{std::string(bytes, 'x')};
}

TEST_P(PoolExceptions, ALongTextArrivesWholeUpTo64KiBAndIsCutWithAMark) {
  pool p{options(1)};
  for (const std::size_t bytes : {4'096U, 5'000U, 20'000U, 60'000U}) {
    try {
      p.apply(throw_long_text, bytes);
      ADD_FAILURE() << bytes;
    } catch (const std::runtime_error& thrown) {
      EXPECT_NE(std::string{thrown.what()}.find(std::string(bytes, 'x')), std::string::npos)
          << bytes << ": " << std::string_view{thrown.what()}.size();
    }
  }
  try {
    p.apply(throw_long_text, 1'000'000U);
    ADD_FAILURE();
  } catch (const std::runtime_error& thrown) {
    const std::string text{thrown.what()};
    EXPECT_NE(text.find(std::string(65'000, 'x')), std::string::npos) << text.size();
    EXPECT_NE(text.find("(cut)"), std::string::npos);
    EXPECT_LT(text.size(), 70'000U);
  }
  EXPECT_EQ(p.stats().deaths, 0U);
}

TEST_P(PoolExceptions, ALongTextOfAnInitializerIsCutWithAMark) {
  pool_options how = options(1);
  how.initializer = call(throw_long_text, std::size_t{1'000'000});
  try {
    const pool p{how};
    ADD_FAILURE() << "it was made";
  } catch (const std::runtime_error& failed) {
    const std::string text{failed.what()};
    EXPECT_NE(text.find(std::string(4'000, 'x')), std::string::npos) << text.size();
    EXPECT_NE(text.find("(cut)"), std::string::npos) << text.substr(0, 300);
    EXPECT_LE(text.size(), 4'200U);
  }
}

TEST_P(PoolExceptions, AMapThrowsTheFirstFailureInInputOrder) {
  pool p{options()};
  for (const std::size_t chunk : {0U, 1U, 3U, 50U}) {
    SCOPED_TRACE("chunk " + std::to_string(chunk));
    try {
      p.map(fail_on_multiples, std::views::iota(0, 100), {.chunk = chunk});
      FAIL() << "nothing was thrown";
    } catch (const std::out_of_range& thrown) {
      EXPECT_STREQ(thrown.what(), "item 7");
    }
    try {
      p.map_async(fail_on_multiples, std::views::iota(0, 100), {.chunk = chunk}).get();
      FAIL() << "nothing was thrown";
    } catch (const std::out_of_range& thrown) {
      EXPECT_STREQ(thrown.what(), "item 7");
    }
  }
  EXPECT_EQ(p.apply(square, 2), 4);
}

// Both run at once, and item 0 fails only after item 1 has: the order of time is not the order of
// input.
int later_first(int item, const std::string& first_runs, const std::string& second_fails) {
  if (item == 1) {
    if (!eventually([&] { return marks(first_runs) > 0; })) {
      return -1;
    }
    mark(second_fails);
    throw std::runtime_error{"item 1"};
  }
  mark(first_runs);
  if (!eventually([&] { return marks(second_fails) > 0; })) {
    return -1;
  }
  throw std::runtime_error{"item 0"};
}

TEST_P(PoolExceptions, TheFirstFailureInInputOrderIsToldEvenIfItHappenedLater) {
  pool p{options()};
  const std::vector<std::tuple<int, std::string, std::string>> items{
      {0, file("runs"), file("fails")}, {1, file("runs"), file("fails")}};
  try {
    p.starmap(later_first, items, {.chunk = 1});
    FAIL() << "nothing was thrown";
  } catch (const std::runtime_error& thrown) {
    EXPECT_STREQ(thrown.what(), "item 0");
  }
}

TEST_P(PoolExceptions, AFailureOfAMapCancelsWhatComesAfterItAndHasNotBegun) {
  pool p{options(1)};
  const auto fail_at_three = [](const std::pair<int, std::string>& item) {
    mark(item.second);
    if (item.first == 0) {
      static_cast<void>(eventually([&] { return std::filesystem::exists(item.second + ".go"); }));
    }
    if (item.first == 3) {
      throw std::out_of_range{"three"};
    }
    return item.first;
  };
  const std::string ran = file("ran");
  const auto input = std::views::iota(0, 100'000) |
                     std::views::transform([&](int i) { return std::pair{i, ran}; });
  const std::jthread lets_go{[&] {
    EXPECT_TRUE(eventually([&] { return p.stats().queued + p.stats().running > 4; }));
    mark(ran + ".go");
  }};
  EXPECT_THROW(p.map(fail_at_three, input, {.chunk = 1}), std::out_of_range);
  EXPECT_TRUE(eventually([&] { return p.stats().queued + p.stats().running == 0; }));
  EXPECT_LT(marks(ran), 100'000U);
  EXPECT_GT(p.stats().cancelled, 0U);
}

TEST_P(PoolExceptions, ImapGivesAnItemsErrorAtItsPositionAndGoesOn) {
  pool p{options()};
  for (const std::size_t chunk : {0U, 1U, 4U}) {
    SCOPED_TRACE("chunk " + std::to_string(chunk));
    auto results = p.imap(fail_on_multiples, std::views::iota(0, 30), {.chunk = chunk});
    int position = 0;
    int errors = 0;
    for (auto it = results.begin(); it != results.end(); ++it, ++position) {
      try {
        EXPECT_EQ(*it, position);
      } catch (const std::out_of_range& thrown) {
        EXPECT_EQ(thrown.what(), "item " + std::to_string(position));
        EXPECT_EQ(position % 10, 7);
        ++errors;
      }
    }
    EXPECT_EQ(position, 30);
    EXPECT_EQ(errors, 3);
    int good = 0;
    int bad = 0;
    auto unordered = p.imap_unordered(fail_on_multiples, std::views::iota(0, 30), {.chunk = chunk});
    for (auto it = unordered.begin(); it != unordered.end(); ++it) {
      try {
        static_cast<void>(*it);
        ++good;
      } catch (const std::out_of_range&) {
        ++bad;
      }
    }
    EXPECT_EQ(good, 27);
    EXPECT_EQ(bad, 3);
  }
}

TEST_P(PoolExceptions, TheErrorCallbackGetsARemoteErrorOnce) {
  pool p{options()};
  std::atomic<int> calls{0};
  std::atomic<int> results{0};
  std::string type;
  std::string text;
  p.apply_async(throw_text<std::out_of_range>, "index 9")
      .on_result([&](int) { ++results; })
      .on_error([&](const error& e) {
        if (const auto* remote = dynamic_cast<const remote_error*>(&e)) {
          type = remote->type_name();
          text = remote->message();
        }
        ++calls;
      });
  std::atomic<int> map_calls{0};
  p.map_async(fail_on_multiples, std::views::iota(0, 20)).on_error([&](const error&) {
    ++map_calls;
  });
  p.close();
  p.join();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(map_calls, 1);
  EXPECT_EQ(results, 0);
  EXPECT_EQ(type, "std::out_of_range");
  EXPECT_EQ(text, "index 9");
}

// ---- encoding and decoding ----------------------------------------------------------------------

struct save_throws {
  int value = 0;
  template <class Archive>
  void save(Archive& ar) const {
    if (value == 13) {
      throw std::domain_error{"13 cannot be saved"};
    }
    ar(value);
  }
  template <class Archive>
  void load(Archive& ar) {
    ar(value);
  }
};
struct load_throws {
  int value = 0;
  template <class Archive>
  void save(Archive& ar) const {
    ar(value);
  }
  template <class Archive>
  void load(Archive& ar) {
    ar(value);
    if (value == 13) {
      throw std::domain_error{"13 cannot be loaded"};
    }
  }
};
struct load_throws_int {
  int value = 0;
  template <class Archive>
  void save(Archive& ar) const {
    ar(value);
  }
  template <class Archive>
  void load(Archive& ar) {
    ar(value);
    throw 42;
  }
};

int value_of_saved(const save_throws& s) {
  return s.value;
}
int value_of_loaded(const load_throws& s) {
  return s.value;
}
save_throws make_save_throws(int x) {
  return {x};
}
load_throws make_load_throws(int x) {
  return {x};
}
load_throws_int make_load_throws_int(int x) {
  return {x};
}

TEST_P(PoolExceptions, AnArgumentThatCannotBeEncodedFailsTheCallBeforeAnythingWasSent) {
  pool p{options()};
  const auto before = p.stats().submitted;
  try {
    static_cast<void>(p.apply_async(value_of_saved, save_throws{13}));
    FAIL() << "nothing was thrown";
  } catch (const error& thrown) {
    EXPECT_EQ(thrown.code(), errc::argument_encode_failed);
    EXPECT_EQ(thrown.ran(), task_ran::no);
    EXPECT_NE(std::string{thrown.what()}.find("13 cannot be saved"), std::string::npos);
    EXPECT_THROW(std::rethrow_if_nested(thrown), std::domain_error);
  }
  EXPECT_EQ(p.stats().submitted, before);
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] {
    return p.map(value_of_saved, std::vector<save_throws>{{1}, {13}, {2}});
  }));
  EXPECT_EQ(p.apply(value_of_saved, save_throws{1}), 1);
  EXPECT_EQ(p.stats().deaths, 0U);
}

TEST_P(PoolExceptions, AnArgumentThatCannotBeDecodedFailsThatTaskOnly) {
  pool p{options(1)};
  const auto before = pids_of(p);
  for (int i = 0; i < 20; ++i) {
    auto bad = p.apply_async(value_of_loaded, load_throws{13});
    auto good = p.apply_async(value_of_loaded, load_throws{i % 10});
    EXPECT_TRUE(fails_with(errc::argument_decode_failed, [&] { return bad.get(); }));
    EXPECT_EQ(good.get(), i % 10);
  }
  auto results = p.imap(value_of_loaded, std::vector<load_throws>{{1}, {13}, {3}}, {.chunk = 3});
  std::vector<int> got;
  for (auto it = results.begin(); it != results.end(); ++it) {
    try {
      got.push_back(*it);
    } catch (const error& e) {
      EXPECT_EQ(e.code(), errc::argument_decode_failed);
      got.push_back(-1);
    }
  }
  EXPECT_EQ(got, (std::vector{1, -1, 3}));
  EXPECT_EQ(pids_of(p), before);
}

// Python: test_unpickleable_result, 20 times, and no worker is lost.
TEST_P(PoolExceptions, AResultThatCannotBeEncodedFailsThatTaskTwentyTimesAndLosesNoWorker) {
  pool p{options()};
  const auto before = pids_of(p);
  for (int i = 0; i < 20; ++i) {
    try {
      p.apply(make_save_throws, 13);
      FAIL() << "nothing was thrown";
    } catch (const error& thrown) {
      EXPECT_EQ(thrown.code(), errc::result_encode_failed);
      EXPECT_EQ(thrown.ran(), task_ran::yes);
      EXPECT_NE(std::string{thrown.what()}.find("13 cannot be saved"), std::string::npos)
          << thrown.what();
    }
    EXPECT_EQ(p.apply(make_save_throws, i % 10).value, i % 10);
  }
  EXPECT_EQ(pids_of(p), before);
  EXPECT_EQ(p.stats().deaths, 0U);
}

TEST_P(PoolExceptions, AResultThatCannotBeDecodedFailsGetEachTimeAndNothingElse) {
  pool p{options()};
  const auto before = pids_of(p);
  auto bad = p.apply_async(make_load_throws, 13);
  EXPECT_TRUE(fails_with(errc::result_decode_failed, [&] { return bad.get(); }));
  EXPECT_TRUE(fails_with(errc::result_decode_failed, [&] { return bad.get(); }));
  EXPECT_TRUE(bad.successful()) << "the task did succeed";
  EXPECT_TRUE(
      fails_with(errc::result_decode_failed, [&] { return p.apply(make_load_throws_int, 1); }));
  EXPECT_TRUE(fails_with(errc::result_decode_failed,
                         [&] { return p.map(make_load_throws, std::vector{1, 13, 2}); }));
  EXPECT_EQ(p.apply(make_load_throws, 1).value, 1);
  EXPECT_EQ(pids_of(p), before);
}

TEST_P(PoolExceptions, ACallbackOfAResultThatCannotBeDecodedIsReportedNotFatal) {
  pool p{options()};
  std::atomic<int> called{0};
  auto bad = p.apply_async(make_load_throws, 13);
  bad.on_result([&](const load_throws&) { ++called; });
  bad.on_done([&](const future<load_throws>&) { called += 10; });
  p.close();
  p.join();
  EXPECT_EQ(called, 10);
}

}  // namespace
}  // namespace troupe::test
