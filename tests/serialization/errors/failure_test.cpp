// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/codec.hpp"
#include "troupe/error.hpp"

#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <any>
#include <csignal>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <new>
#include <regex>
#include <system_error>

namespace troupe {
namespace {

using test::fails_with;

template <class Throw>
failure captured(Throw&& thrower) {
  try {
    thrower();
  } catch (...) {
    return capture_failure(std::current_exception());
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

failure travelled(const failure& what) {
  return decode<failure>(encode(what));
}

/// Throws it, takes it through bytes and returns what it says where it arrived as `As`.
template <class As, class Throw>
std::string arrives_as(Throw&& thrower) {
  failure what = travelled(captured(std::forward<Throw>(thrower)));
  what.pid = 77;
  what.host = "there";
  what.task = 41;
  what.attempt = 2;
  try {
    rethrow(what);
  } catch (const As& arrived) {
    const auto* info = dynamic_cast<const remote_error_info*>(&arrived);
    if (info == nullptr) {
      ADD_FAILURE() << "no remote_error_info";
      return {};
    }
    EXPECT_EQ(info->pid(), 77);
    EXPECT_EQ(info->host(), "there");
    EXPECT_EQ(info->task(), 41U);
    EXPECT_EQ(info->attempt(), 2U);
    EXPECT_EQ(info->as_failure(), what);
    EXPECT_TRUE(dynamic_cast<const remote_error*>(to_error(what).get()) != nullptr);
    return arrived.what();
  } catch (...) {
    ADD_FAILURE() << "arrived as another type than " << typeid(As).name();
  }
  return {};
}

template <class E, class... Args>
std::string arrives_as_itself(Args&&... args) {
  const E original(std::forward<Args>(args)...);
  const failure what = captured([&] { throw original; });
  EXPECT_NE(what.std_type, standard_exception::none) << what.type_name;
  EXPECT_EQ(what.code, errc::task_failed);
  EXPECT_EQ(what.ran, task_ran::yes);
  std::string text = arrives_as<E>([&] { throw original; });
  EXPECT_EQ(text, original.what());
  // Also by its base and by what it is besides.
  EXPECT_THROW(rethrow(what), std::exception);
  EXPECT_THROW(rethrow(what), remote_error_info);
  return text;
}

struct user_error : std::runtime_error {
  explicit user_error(int number) : std::runtime_error("number " + std::to_string(number)) {}
};
struct not_derived {};
struct bad_what : std::exception {
  [[nodiscard]] const char* what() const noexcept override { return nullptr; }
};
TEST(Failure, StandardExceptionsArriveAsThemselves) {
  arrives_as_itself<std::exception>();
  arrives_as_itself<std::logic_error>("a");
  arrives_as_itself<std::domain_error>("a");
  arrives_as_itself<std::invalid_argument>("a");
  arrives_as_itself<std::length_error>("a");
  arrives_as_itself<std::out_of_range>("a");
  arrives_as_itself<std::runtime_error>("a");
  arrives_as_itself<std::range_error>("a");
  arrives_as_itself<std::overflow_error>("a");
  arrives_as_itself<std::underflow_error>("a");
  arrives_as_itself<std::bad_alloc>();
  arrives_as_itself<std::bad_array_new_length>();
  arrives_as_itself<std::bad_cast>();
  arrives_as_itself<std::bad_typeid>();
  arrives_as_itself<std::bad_exception>();
  arrives_as_itself<std::bad_function_call>();
  arrives_as_itself<std::bad_weak_ptr>();
  arrives_as_itself<std::bad_optional_access>();
  arrives_as_itself<std::bad_variant_access>();
  arrives_as_itself<std::bad_any_cast>();
  arrives_as_itself<std::system_error>(std::make_error_code(std::errc::timed_out), "a");
  arrives_as_itself<std::ios_base::failure>("a");
  arrives_as_itself<std::filesystem::filesystem_error>(
      "a", "p1", "p2", std::make_error_code(std::errc::no_such_file_or_directory));
  arrives_as_itself<std::future_error>(std::future_errc::broken_promise);
  arrives_as_itself<std::regex_error>(std::regex_constants::error_brack);
}

TEST(Failure, ExceptionsOfTheLibraryItselfArriveAsTheirStandardType) {
  EXPECT_FALSE(arrives_as<std::out_of_range>([] { std::vector<int>{}.at(1) = 0; }).empty());
  EXPECT_FALSE(arrives_as<std::bad_variant_access>([] {
                 (void)std::get<1>(std::variant<int, char>{});
               }).empty());
  EXPECT_FALSE(arrives_as<std::ios_base::failure>([] {
                 std::stringbuf closed;
                 std::iostream stream{&closed};
                 stream.exceptions(std::ios::badbit);
                 stream.setstate(std::ios::badbit);
               }).empty());
  EXPECT_FALSE(arrives_as<std::regex_error>([] { std::regex{"["}; }).empty());
}

TEST(Failure, CodesAndPathsAreKept) {
  const auto code = std::make_error_code(std::errc::no_such_file_or_directory);
  const failure what = travelled(
      captured([&] { throw std::filesystem::filesystem_error{"open", "from", "to", code}; }));
  try {
    rethrow(what);
  } catch (const std::filesystem::filesystem_error& arrived) {
    EXPECT_EQ(arrived.code(), code);
    EXPECT_EQ(arrived.path1(), "from");
    EXPECT_EQ(arrived.path2(), "to");
  }
  const failure io = captured([] { throw std::ios_base::failure{"x"}; });
  EXPECT_EQ(io.error_category, std::iostream_category().name());
  try {
    rethrow(io);
  } catch (const std::system_error& arrived) {
    EXPECT_EQ(arrived.code(), std::error_code{std::io_errc::stream});
  }
  try {
    rethrow(captured([] { throw std::future_error{std::future_errc::no_state}; }));
  } catch (const std::future_error& arrived) {
    EXPECT_EQ(arrived.code(), std::future_errc::no_state);
  }
  try {
    rethrow(captured([] { throw std::regex_error{std::regex_constants::error_paren}; }));
  } catch (const std::regex_error& arrived) {
    EXPECT_EQ(arrived.code(), std::regex_constants::error_paren);
  }
}

TEST(Failure, AnUnknownCategoryBecomesTheSameNumberWithTheOriginalText) {
  struct own_category : std::error_category {
    [[nodiscard]] const char* name() const noexcept override { return "own"; }
    [[nodiscard]] std::string message(int /*value*/) const override { return "own message"; }
  };
  static const own_category category;
  const failure what =
      captured([] { throw std::system_error{std::error_code{12, category}, "text"}; });
  EXPECT_EQ(what.error_category, "own");
  try {
    rethrow(what);
  } catch (const std::system_error& arrived) {
    EXPECT_EQ(arrived.code(), (std::error_code{12, std::generic_category()}));
    EXPECT_STREQ(arrived.what(), "text: own message");
  }
}

TEST(Failure, TypesOfUsersArriveAsRemoteError) {
  const failure what = travelled(captured([] { throw user_error{5}; }));
  EXPECT_EQ(what.std_type, standard_exception::none);
  try {
    rethrow(what);
  } catch (const remote_error& arrived) {
    EXPECT_NE(arrived.type_name().find("user_error"), std::string::npos);
    EXPECT_EQ(arrived.message(), "number 5");
    EXPECT_NE(std::string{arrived.what()}.find("number 5"), std::string::npos);
    EXPECT_EQ(arrived.code(), errc::task_failed);
    EXPECT_EQ(arrived.ran(), task_ran::yes);
  }
}

TEST(Failure, AnythingCanBeThrown) {
  EXPECT_EQ(captured([] { throw 42; }).type_name, "int");
  EXPECT_EQ(captured([] { throw 42; }).text, "42");
  EXPECT_EQ(captured([] { throw "text"; }).text, "text");
  EXPECT_EQ(captured([] { throw "text"; }).type_name, "char const*");
  EXPECT_EQ(captured([] { throw std::string{"text"}; }).type_name, "std::string");
  EXPECT_EQ(captured([] { throw static_cast<const char*>(nullptr); }).text, "(null)");
  EXPECT_NE(captured([] { throw not_derived{}; }).type_name.find("not_derived"), std::string::npos);
  EXPECT_THROW(rethrow(captured([] { throw 42; })), remote_error);
}

TEST(Failure, AWhatThatReturnsNothingIsSurvived) {
  const failure what = captured([] { throw bad_what{}; });
  EXPECT_EQ(what.text, "(what() returned a null pointer)");
  EXPECT_THROW(rethrow(what), remote_error);
}

TEST(Failure, NothingToCaptureIsSurvived) {
  EXPECT_EQ(capture_failure(nullptr).text, "(no exception)");
  EXPECT_THROW(rethrow(capture_failure(nullptr)), error);
}

TEST(Failure, TextsAreCut) {
  const failure what = captured([] { throw std::runtime_error{std::string(1'000'000, 'x')}; });
  EXPECT_EQ(what.text.size(), 64U * 1024U);
  EXPECT_EQ(captured([] { throw std::string(1'000'000, 'x'); }).text.size(), 64U * 1024U);
}

void throw_nested(int depth) {
  if (depth == 0) {
    throw std::out_of_range{"innermost"};
  }
  try {
    throw_nested(depth - 1);
  } catch (...) {
    std::throw_with_nested(std::runtime_error{"level " + std::to_string(depth)});
  }
}

TEST(Failure, NestedExceptionsAreRebuilt) {
  const failure what = travelled(captured([] { throw_nested(2); }));
  EXPECT_EQ(what.type_name, "std::runtime_error");
  EXPECT_EQ(what.std_type, standard_exception::runtime_error);
  EXPECT_EQ(what.text, "level 2");
  EXPECT_EQ(what.causes, (std::vector<cause>{{"std::runtime_error", "level 1"},
                                             {"std::out_of_range", "innermost"}}));
  try {
    rethrow(what);
  } catch (const std::runtime_error& outer) {
    EXPECT_STREQ(outer.what(), "level 2");
    try {
      std::rethrow_if_nested(outer);
      FAIL() << "not nested";
    } catch (const std::runtime_error& middle) {
      EXPECT_STREQ(middle.what(), "level 1");
      EXPECT_THROW(std::rethrow_if_nested(middle), std::out_of_range);
    }
  }
}

TEST(Failure, AChainOfCausesIsBounded) {
  const failure what = captured([] { throw_nested(100); });
  EXPECT_EQ(what.causes.size(), 16U);
  EXPECT_EQ(what.causes.back().text, "level 84");
}

TEST(Failure, ANestedUserTypeKeepsItsName) {
  const failure what = captured([] {
    try {
      throw user_error{1};
    } catch (...) {
      std::throw_with_nested(user_error{2});
    }
  });
  EXPECT_EQ(what.type_name.find("_Nested_exception"), std::string::npos) << what.type_name;
  EXPECT_NE(what.type_name.find("user_error"), std::string::npos);
  ASSERT_EQ(what.causes.size(), 1U);
  EXPECT_EQ(what.causes[0].text, "number 1");
}

TEST(Failure, SecondHandKeepsTheFirstOrigin) {
  failure first = captured([] { throw std::out_of_range{"far away"}; });
  first.pid = 5;
  first.host = "origin";
  const failure second = captured([&] { rethrow(travelled(first)); });
  EXPECT_EQ(second, first);
  const failure user = captured([] { throw user_error{3}; });
  EXPECT_EQ(captured([&] { rethrow(user); }), user);
}

TEST(Failure, AStageThatFailedIsNamed) {
  try {
    throw std::runtime_error{"bad byte"};
  } catch (...) {
    const failure what =
        travelled(capture_failure(errc::argument_decode_failed, std::current_exception()));
    EXPECT_EQ(what.code, errc::argument_decode_failed);
    EXPECT_EQ(what.ran, task_ran::no);
    EXPECT_EQ(what.text, "decoding the arguments failed: bad byte");
    EXPECT_TRUE(fails_with(errc::argument_decode_failed, [&] {
      rethrow(what);
      return 0;
    }));
    EXPECT_THROW(rethrow(what), remote_error);
    EXPECT_EQ(to_error(what)->code(), errc::argument_decode_failed);
    EXPECT_EQ(capture_failure(errc::result_encode_failed, std::current_exception()).ran,
              task_ran::yes);
  }
}

template <class E>
void expect_own(errc code, const E& thrown) {
  const failure what = travelled(captured([&] { throw thrown; }));
  EXPECT_EQ(what.code, code);
  try {
    rethrow(what);
  } catch (const E& arrived) {
    EXPECT_EQ(arrived.code(), code);
    EXPECT_EQ(arrived.ran(), thrown.ran());
    EXPECT_NE(std::string{arrived.what()}.find("text"), std::string::npos);
  } catch (const std::exception& other) {
    ADD_FAILURE() << to_string(code) << " arrived as another class: " << other.what();
  }
  EXPECT_EQ(to_error(what)->code(), code);
}

TEST(Failure, OwnExceptionsThrownByATaskArriveAsTheSameClass) {
  expect_own(errc::timeout, timeout_error{"text"});
  expect_own(errc::cancelled, cancelled_error{"text", task_ran::maybe});
  expect_own(errc::pool_closed, pool_closed{"text"});
  expect_own(errc::pool_broken, pool_broken{"text"});
  expect_own(errc::broken_barrier, broken_barrier{"text"});
  expect_own(errc::not_bootstrapped, not_bootstrapped{"text"});
  expect_own(errc::end_of_stream, end_of_stream{"text"});
  expect_own(errc::broken_pipe, broken_pipe{"text"});
  expect_own(errc::authentication_failed, authentication_error{"text"});
  expect_own(errc::queue_closed, queue_closed{"text"});
  expect_own(errc::spawn_failed, error{errc::spawn_failed, task_ran::no, "text"});
  const auto lost = std::make_shared<failure>();
  lost->code = errc::worker_lost;
  lost->text = "text";
  lost->ran = task_ran::maybe;
  expect_own(errc::worker_lost, worker_lost{lost});
}

TEST(Failure, AnErrorOfTheLibraryWithoutAClassOfItsOwnArrivesAsItIs) {
  for (const errc code : {errc::spawn_failed, errc::resource_exhausted, errc::no_state,
                          errc::argument_encode_failed, errc::protocol_error}) {
    const error original{code, task_ran::no, "the text"};
    const failure what = travelled(captured([&] { throw original; }));
    try {
      rethrow(what);
    } catch (const remote_error& wrapped) {
      ADD_FAILURE() << "it arrived in " << wrapped.what();
    } catch (const error& arrived) {
      EXPECT_EQ(arrived.code(), code);
      EXPECT_EQ(arrived.ran(), task_ran::no);
      EXPECT_STREQ(arrived.what(), original.what());
      EXPECT_NE(dynamic_cast<const remote_error_info*>(&arrived), nullptr);
    }
    EXPECT_STREQ(to_error(what)->what(), original.what());
    EXPECT_EQ(to_error(what)->code(), code);
    EXPECT_EQ(dynamic_cast<const remote_error*>(to_error(what).get()), nullptr);
    // Also from the second process to the third.
    EXPECT_EQ(travelled(captured([&] { rethrow(what); })).type_name, what.type_name);
  }
}

TEST(Failure, AnErrorOfTheLibraryInAStageIsStillThatOfTheStage) {
  const failure what = [] {
    try {
      throw error{errc::protocol_error, task_ran::no, "bad byte"};
    } catch (...) {
      return travelled(capture_failure(errc::argument_decode_failed, std::current_exception()));
    }
  }();
  EXPECT_THROW(rethrow(what), remote_error);
  EXPECT_EQ(to_error(what)->code(), errc::argument_decode_failed);
}

TEST(Failure, AClassOfTheLibraryThatIsACauseIsRebuilt) {
  const failure what = travelled(captured([] {
    try {
      throw queue_closed{"no more"};
    } catch (...) {
      std::throw_with_nested(std::runtime_error{"outer"});
    }
  }));
  try {
    rethrow(what);
  } catch (const std::exception& outer) {
    try {
      std::rethrow_if_nested(outer);
      ADD_FAILURE() << "nothing is nested";
    } catch (const queue_closed& inner) {
      EXPECT_STREQ(inner.what(), "no more");
    }
  }
}

TEST(Failure, ThoseThatTheLibraryMadeArriveAsTheirClass) {
  const auto make = [](errc code) {
    failure what;
    what.code = code;
    what.ran = task_ran::no;
    what.text = "text";
    return what;
  };
  EXPECT_THROW(rethrow(make(errc::timeout)), timeout_error);
  EXPECT_THROW(rethrow(make(errc::cancelled)), cancelled_error);
  EXPECT_THROW(rethrow(make(errc::pool_closed)), pool_closed);
  EXPECT_THROW(rethrow(make(errc::pool_broken)), pool_broken);
  EXPECT_THROW(rethrow(make(errc::not_bootstrapped)), not_bootstrapped);
  EXPECT_THROW(rethrow(make(errc::end_of_stream)), end_of_stream);
  EXPECT_THROW(rethrow(make(errc::broken_pipe)), broken_pipe);
  EXPECT_THROW(rethrow(make(errc::authentication_failed)), authentication_error);
  EXPECT_THROW(rethrow(make(errc::queue_closed)), queue_closed);
  EXPECT_TRUE(fails_with(errc::spawn_failed, [&] {
    rethrow(make(errc::spawn_failed));
    return 0;
  }));
  EXPECT_TRUE(dynamic_cast<const timeout_error*>(to_error(make(errc::timeout)).get()) != nullptr);
  EXPECT_TRUE(dynamic_cast<const worker_lost*>(to_error(make(errc::worker_lost)).get()) != nullptr);
}

TEST(Failure, ALostWorkerTellsHowItEnded) {
  failure what;
  what.code = errc::worker_lost;
  what.ran = task_ran::maybe;
  what.pid = 8123;
  what.task = 41;
  what.attempt = 1;
  what.exit_kind = 2;
  what.exit_value = SIGSEGV;
  what.stage = "run";
  try {
    rethrow(travelled(what));
  } catch (const worker_lost& lost) {
    EXPECT_EQ(lost.pid(), 8123);
    EXPECT_EQ(lost.task(), 41U);
    EXPECT_EQ(lost.attempt(), 1U);
    EXPECT_EQ(lost.signal(), SIGSEGV);
    EXPECT_EQ(lost.exit(), exit_status{killed_by{SIGSEGV}});
    EXPECT_EQ(lost.reason(), "SIGSEGV (signal 11)");
    EXPECT_EQ(lost.stage(), "run");
    EXPECT_EQ(lost.ran(), task_ran::maybe);
    EXPECT_STREQ(lost.what(), "the worker (pid 8123) was lost with task #41: SIGSEGV (signal 11)");
  }
  what.exit_kind = 1;
  what.exit_value = 0;
  const worker_lost left{std::make_shared<failure>(what)};
  EXPECT_EQ(left.reason(), "exit code 0");
  EXPECT_EQ(left.signal(), std::nullopt);
  what.exit_kind = 0;
  what.text = "its machine is gone";
  const worker_lost gone{std::make_shared<failure>(what)};
  EXPECT_EQ(gone.exit(), std::nullopt);
  EXPECT_EQ(gone.reason(), "its machine is gone");
}

TEST(Failure, EachCallMakesAFreshExceptionObject) {
  const failure what = captured([] { throw std::runtime_error{"a"}; });
  EXPECT_NE(to_exception(what), to_exception(what));
}

TEST(ExitStatus, ReadsLikeAPersonWouldSayIt) {
  EXPECT_EQ(to_string(exit_status{exited{99}}), "exit code 99");
  EXPECT_EQ(to_string(exit_status{killed_by{9}}), "SIGKILL (signal 9)");
  EXPECT_EQ(to_string(exit_status{killed_by{40}}), "signal 40");
}

TEST(Errc, EveryCodeHasItsName) {
  EXPECT_EQ(to_string(errc::ok), "ok");
  EXPECT_EQ(to_string(errc::would_deadlock), "would_deadlock");
  EXPECT_EQ(to_string(errc::wrong_state), "wrong_state");
  EXPECT_EQ(to_string(errc::connection_lost), "connection_lost");
  EXPECT_EQ(to_string(errc::not_on_this_machine), "not_on_this_machine");
  EXPECT_EQ(to_string(errc::broken_barrier), "broken_barrier");
  EXPECT_EQ(to_string(errc::queue_closed), "queue_closed");
  EXPECT_EQ(to_string(errc::unknown_function), "unknown_function");
  EXPECT_EQ(to_string(static_cast<errc>(9999)), "unknown error code");
  EXPECT_EQ(to_string(task_ran::maybe), "maybe");
}

}  // namespace
}  // namespace troupe
