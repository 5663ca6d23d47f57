// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/callable.hpp"

#include "troupe/codec.hpp"
#include "troupe/error.hpp"

#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {
namespace {

using detail::byte_buffer;
using detail::task_stage;
using test::fails_with;
using namespace std::string_literals;

/// What a worker does with a call: bytes in, bytes out.
template <class F, class... Args>
auto over_there(F&& f, Args&&... args) {
  byte_buffer callable;
  byte_buffer arguments;
  byte_buffer result;
  detail::encode_task_callable<F, Args...>(callable, f);
  detail::encode_task_arguments<F, Args...>(arguments, args...);
  auto stage = task_stage::decode_callable;
  detail::decode_task_callable(callable.bytes())->run(arguments.bytes(), result, stage);
  EXPECT_EQ(stage, task_stage::encode_result);
  using kept = detail::task_result_t<F, Args...>;
  if constexpr (std::is_void_v<kept>) {
    EXPECT_EQ(result.size(), 0U);
  } else {
    return decode<kept>(result.bytes());
  }
}

int add(int a, int b) {
  return a + b;
}
int add_noexcept(int a, int b) noexcept {
  return a + b;
}
double half(double x) {
  return x / 2;
}
std::size_t length(const std::string& text) {
  return text.size();
}
std::size_t view_length(std::string_view text) {
  return text.size();
}
std::size_t c_length(const char* text) {
  return std::strlen(text);
}
std::string& longest(std::vector<std::string>&& texts) {
  static std::string kept;
  kept = texts.at(0);
  return kept;
}
double sum(std::span<const double> numbers) {
  double total = 0;
  for (const double number : numbers) {
    total += number;
  }
  return total;
}
int side_effect = 0;
void set_side_effect(int value) {
  side_effect = value;
}
std::unique_ptr<int> next(std::unique_ptr<int> number) {
  return std::make_unique<int>(*number + 1);
}
int apply_twice(int (*f)(int, int), int x) {
  return f(x, f(x, x));
}
std::string_view first_word(const std::string& text) {
  static std::string kept;
  kept = text.substr(0, text.find(' '));
  return kept;
}
const char* as_c_text(int number) {
  return number == 0 ? nullptr : "text";
}

struct animal {
  int legs = 4;
  animal() = default;
  explicit animal(int count) : legs(count) {}
  animal(const animal&) = default;
  animal& operator=(const animal&) = default;
  virtual ~animal() = default;
  [[nodiscard]] virtual std::string name() const { return "animal"; }
  [[nodiscard]] int legs_of(int count) const { return legs * count; }
  int grow(int more) noexcept { return legs += more; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(legs);
  }
};
struct bird : animal {
  bird() : animal(2) {}
  [[nodiscard]] std::string name() const override { return "bird"; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(legs);
  }
};
struct first_base {
  long number = 1;
};
struct second_base {
  long numbers[3] = {};
  [[nodiscard]] long third() const { return numbers[2]; }
};
struct both_bases : first_base, second_base {
  template <class Archive>
  void serialize(Archive& ar) {
    ar(number, numbers);
  }
};
std::string name_of(const animal& some) {
  return some.name();
}

struct scale {
  double factor = 1;
  double operator()(double x) const { return x * factor; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(factor);
  }
};
struct counter {
  int count = 0;
  int operator()() { return ++count; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(count);
  }
};
struct overloaded {
  int operator()(int x) const { return x; }
  std::string operator()(const std::string& x) const { return x + x; }
};

TEST(Callable, FunctionsRun) {
  EXPECT_EQ(over_there(add, 1, 2), 3);
  EXPECT_EQ(over_there(&add, 1, 2), 3);
  EXPECT_EQ(over_there(add_noexcept, 1, 2), 3);
  over_there(set_side_effect, 7);
  EXPECT_EQ(side_effect, 7);
}

TEST(Callable, ArgumentsBecomeTheParametersTypesInTheCaller) {
  EXPECT_EQ(over_there(half, 7), 3.5);
  EXPECT_EQ(over_there(length, "four"), 4U);
  EXPECT_EQ(over_there(view_length, "four"), 4U);
  EXPECT_EQ(over_there(view_length, "four"s), 4U);
  EXPECT_EQ(over_there(view_length, std::string_view{"four"}), 4U);
  EXPECT_EQ(over_there(c_length, "four"), 4U);
  EXPECT_EQ(over_there(c_length, "four"s), 4U);
  EXPECT_EQ(over_there([](float x) { return x; }, 1), 1.0F);
  const char buffer[16] = "four";
  EXPECT_EQ(over_there(length, buffer), 4U);
  byte_buffer arguments;
  detail::encode_task_arguments<decltype(half), int>(arguments, 7);
  EXPECT_EQ(arguments.size(), sizeof(double));
}

TEST(Callable, ATextViewLooksStraightOntoTheArguments) {
  byte_buffer callable;
  byte_buffer arguments;
  byte_buffer result;
  const auto address = [](std::string_view text) {
    return reinterpret_cast<std::uintptr_t>(text.data());
  };
  detail::encode_task_callable<decltype(address), std::string>(callable, address);
  detail::encode_task_arguments<decltype(address), std::string>(arguments, "text"s);
  task_stage stage{};
  detail::decode_task_callable(callable.bytes())->run(arguments.bytes(), result, stage);
  const auto begin = reinterpret_cast<std::uintptr_t>(arguments.data());
  EXPECT_EQ(decode<std::uintptr_t>(result.bytes()), begin + 8);
}

TEST(Callable, ASpanLooksStraightOntoTheArgumentsIfTheyAreAligned) {
  byte_buffer callable;
  byte_buffer arguments;
  const auto address = [](char, std::span<const double> numbers) {
    return reinterpret_cast<std::uintptr_t>(numbers.data());
  };
  const std::vector<double> numbers{1, 2, 3};
  detail::encode_task_callable<decltype(address), char, std::vector<double>>(callable, address);
  // Behind something else, as in a frame: only the distance from the first argument counts.
  arguments.append("xxxxx", 5);
  detail::encode_task_arguments<decltype(address), char, std::vector<double>>(arguments, 'c',
                                                                              numbers);
  const auto task = detail::decode_task_callable(callable.bytes());
  alignas(16) std::byte memory[256];
  for (const std::size_t shift : {0U, 1U}) {
    const auto bytes = arguments.bytes().subspan(5);
    std::memcpy(memory + shift, bytes.data(), bytes.size());
    byte_buffer result;
    task_stage stage{};
    task->run({memory + shift, bytes.size()}, result, stage);
    const auto begin = reinterpret_cast<std::uintptr_t>(memory);
    const auto at = decode<std::uintptr_t>(result.bytes());
    EXPECT_EQ(at % alignof(double), 0U);
    EXPECT_EQ(at >= begin && at < begin + sizeof memory, shift == 0) << "a copy if it must be";
  }
}

TEST(Callable, SpansOfNumbersRun) {
  EXPECT_EQ(over_there(sum, std::vector<double>{1, 2, 3}), 6);
  EXPECT_EQ(over_there(sum, std::array<double, 2>{1, 2}), 3);
  EXPECT_EQ(over_there(sum, std::vector<double>{}), 0);
}

TEST(Callable, MoveOnlyArgumentsAndResultsCross) {
  EXPECT_EQ(*over_there(next, std::make_unique<int>(1)), 2);
}

TEST(Callable, ResultsByReferenceAndViewAreKeptAsValues) {
  EXPECT_EQ(over_there(longest, std::vector<std::string>{"a", "b"}), "a");
  EXPECT_EQ(over_there(first_word, "two words"), "two");
  EXPECT_EQ(over_there(as_c_text, 1), "text");
  static_assert(
      std::is_same_v<detail::task_result_t<decltype(first_word), std::string>, std::string>);
  static_assert(std::is_same_v<detail::task_result_t<decltype(longest), std::vector<std::string>>,
                               std::string>);
  static_assert(std::is_void_v<detail::task_result_t<decltype(set_side_effect), int>>);
}

TEST(Callable, FunctionsCanBeArguments) {
  EXPECT_EQ(over_there(apply_twice, add, 5), 15);
  EXPECT_EQ(over_there(apply_twice, [](int a, int b) { return a * b; }, 5), 125);
  EXPECT_EQ(over_there([](auto f, int x) { return f(x); }, [](int x) { return x + 1; }, 1), 2);
}

TEST(Callable, LambdasRun) {
  EXPECT_EQ(over_there([](int x) { return x + 1; }, 1), 2);
  EXPECT_EQ(over_there([](int x) noexcept { return x + 1; }, 1), 2);
  EXPECT_EQ(over_there([] { return "text"s; }), "text");
  EXPECT_EQ(over_there([=](int x) { return x + 1; }, 1), 2);
  EXPECT_EQ(over_there([&](int x) { return x + 1; }, 1), 2);
  EXPECT_EQ(over_there([](int x) mutable { return ++x; }, 1), 2);
}

TEST(Callable, GenericLambdasGetWhatWasPassed) {
  // NOLINTNEXTLINE(performance-unnecessary-value-param): by value is what is tested
  const auto twice = [](auto x) { return x + x; };
  EXPECT_EQ(over_there(twice, 2), 4);
  EXPECT_EQ(over_there(twice, "ab"), "abab");
  EXPECT_EQ(over_there(twice, "ab"s), "abab");
  EXPECT_EQ(over_there(twice, std::string_view{"ab"}), "abab");
  EXPECT_EQ(over_there([](const auto&... x) { return (x + ...); }, 1, 2, 3.5), 6.5);
  EXPECT_EQ(
      *over_there([](auto&& p) { return std::forward<decltype(p)>(p); }, std::make_unique<int>(3)),
      3);
}

TEST(Callable, OverloadedCallOperatorsChooseByTheArgument) {
  EXPECT_EQ(over_there(overloaded{}, 3), 3);
  EXPECT_EQ(over_there(overloaded{}, "ab"), "abab");
}

TEST(Callable, FunctionObjectsTakeTheirStateAlong) {
  EXPECT_EQ(over_there(scale{2.5}, 2), 5.0);
}

TEST(Callable, EveryRunStartsFromTheStateThatWasSent) {
  byte_buffer callable;
  detail::encode_task_callable<counter>(callable, counter{5});
  const auto task = detail::decode_task_callable(callable.bytes());
  for (int i = 0; i < 3; ++i) {
    byte_buffer result;
    task_stage stage{};
    task->run({}, result, stage);
    EXPECT_EQ(decode<int>(result.bytes()), 6);
  }
}

TEST(Callable, MemberFunctionsRun) {
  EXPECT_EQ(over_there(&animal::legs_of, animal{}, 3), 12);
  EXPECT_EQ(over_there(&animal::grow, animal{}, 3), 7);
  EXPECT_EQ(over_there(&std::string::size, "four"s), 4U);
}

TEST(Callable, VirtualMemberFunctionsRunAsOverridden) {
  EXPECT_EQ(over_there(&animal::name, animal{}), "animal");
  EXPECT_EQ(over_there(&animal::name, bird{}), "bird");
  std::string (bird::*inherited)() const = &animal::name;
  EXPECT_EQ(over_there(inherited, bird{}), "bird");
}

TEST(Callable, MemberFunctionsOfASecondBaseGetTheRightObject) {
  // Without virtual functions, because GCC's sanitizer looks for those in the adjusted object.
  long (both_bases::*adjusted)() const = &both_bases::third;
  both_bases sent;
  sent.numbers[2] = 9;
  EXPECT_EQ(over_there(adjusted, sent), 9);
  EXPECT_EQ(decode<decltype(adjusted)>(encode(adjusted)), adjusted);
}

TEST(Callable, AReferenceToABaseSeesTheWholeObject) {
  EXPECT_EQ(over_there(name_of, bird{}), "bird");
}

TEST(Callable, MemberFunctionPointersComeBackAsTheyWere) {
  using plain = int (animal::*)(int) const;
  using virtual_one = std::string (animal::*)() const;
  EXPECT_EQ(decode<plain>(encode<plain>(&animal::legs_of)), &animal::legs_of);
  EXPECT_EQ(decode<virtual_one>(encode<virtual_one>(&animal::name)), &animal::name);
  EXPECT_EQ(decode<plain>(encode(plain{nullptr})), nullptr);
}

TEST(Partial, BindsTheFirstArguments) {
  EXPECT_EQ(partial(add, 1)(2), 3);
  EXPECT_EQ(over_there(partial(add, 100), 1), 101);
  EXPECT_EQ(over_there(partial(add, 1, 2)), 3);
  EXPECT_EQ(over_there(partial(add), 1, 2), 3);
  EXPECT_EQ(over_there(
                partial([](const std::string& a, int n) { return a + std::to_string(n); }, "n"), 7),
            "n7");
}

TEST(Partial, ConvertsToTheParametersTypes) {
  EXPECT_EQ(over_there(partial(half, 7)), 3.5);
  EXPECT_EQ(over_there(partial([](double a, double b) { return a / b; }, 1), 4), 0.25);
  EXPECT_EQ(over_there(partial(view_length, "four")), 4U);
  EXPECT_EQ(over_there(partial(c_length, "four")), 4U);
  EXPECT_EQ(over_there(partial(sum, std::vector<double>{1, 2})), 3);
  EXPECT_EQ(over_there(partial([](const auto& a, const auto& b) { return a + b; }, "a"), "b"),
            "ab");
}

TEST(Partial, OfAPartialBindsTheNextArguments) {
  const auto inner = partial([](int a, int b, int c) { return a * 100 + b * 10 + c; }, 1);
  EXPECT_EQ(over_there(partial(inner, 2), 3), 123);
  EXPECT_EQ(over_there(partial(partial(inner, 2), 3)), 123);
}

TEST(Partial, OfMemberFunctionsAndObjectsWithState) {
  EXPECT_EQ(over_there(partial(&animal::name, bird{})), "bird");
  EXPECT_EQ(over_there(partial(&animal::legs_of, animal{}), 2), 8);
  EXPECT_EQ(over_there(partial(scale{3}, 2)), 6);
  EXPECT_EQ(over_there(partial([=](int a, int b) { return a - b; }, 5), 3), 2);
  EXPECT_EQ(over_there(partial(overloaded{}, "ab")), "abab");
}

TEST(Partial, TravelsAsAValueToo) {
  const auto sent = partial(add, 5);
  const auto got = decode<decltype(partial(add, 5))>(encode(sent));
  EXPECT_EQ(got(6), 11);
  EXPECT_EQ(over_there([](const auto& f, int x) { return f(x); }, partial(add, 5), 6), 11);
}

TEST(Call, IsEncodedAtOnceAndRunsLater) {
  const bound_call empty;
  EXPECT_FALSE(empty);
  EXPECT_NO_THROW(empty());
  const bound_call sent = call(set_side_effect, 12.0);
  EXPECT_TRUE(sent);
  const auto got = decode<bound_call>(encode(sent));
  EXPECT_EQ(got, sent);
  side_effect = 0;
  got();
  EXPECT_EQ(side_effect, 12);
}

TEST(Call, IsMadeOfAnythingThatCanBeCalledWithoutArguments) {
  const bound_call a = [] { side_effect = 1; };
  const bound_call b = partial(set_side_effect, 2);
  bound_call c;
  c = +[] { side_effect = 3; };
  a();
  EXPECT_EQ(side_effect, 1);
  b();
  EXPECT_EQ(side_effect, 2);
  c();
  EXPECT_EQ(side_effect, 3);
  static_assert(!std::is_convertible_v<int, bound_call>);
  static_assert(!std::is_convertible_v<decltype(&set_side_effect), bound_call>);
}

const auto add_name = name("callable_test.add", add);
const auto noexcept_name = name("callable_test.add_noexcept", add_noexcept);

TEST(Name, IsLookedUpWhereTheFunctionRuns) {
  EXPECT_EQ(add_name.name(), "callable_test.add");
  EXPECT_EQ(named<int(int, int)>("callable_test.add")(1, 2), 3);
  EXPECT_EQ(over_there(named<int(int, int)>("callable_test.add"), 1, 2.0), 3);
  EXPECT_EQ(over_there(named<int(int, int)>("callable_test.add_noexcept"), 1, 2), 3);
  EXPECT_EQ(over_there(partial(named<int(int, int)>("callable_test.add"), 1), 2), 3);
}

TEST(Name, ThatWasNotGivenIsAnErrorThatSaysWhatToDo) {
  const auto f = named<int(int)>("callable_test.not_given");
  EXPECT_TRUE(fails_with(errc::unknown_function, [&] { return f(1); }));
  try {
    f(1);
  } catch (const error& unknown) {
    EXPECT_NE(std::string{unknown.what()}.find("troupe::name(\"callable_test.not_given\""),
              std::string::npos)
        << unknown.what();
  }
}

TEST(Name, OfAnotherTypeIsRefused) {
  EXPECT_TRUE(fails_with(errc::unknown_function,
                         [] { return named<double(double)>("callable_test.add")(1); }));
}

TEST(Name, BelongsToOneFunction) {
  EXPECT_NO_THROW(static_cast<void>(name("callable_test.add", add)));
  EXPECT_THROW(static_cast<void>(name("callable_test.add", half)), std::logic_error);
  EXPECT_THROW(static_cast<void>(name("", half)), std::invalid_argument);
}

TEST(Task, SaysWhereItWasWhenItFailed) {
  const auto fails = [](int x) -> int { throw std::out_of_range{std::to_string(x)}; };
  byte_buffer callable;
  byte_buffer arguments;
  byte_buffer result;
  detail::encode_task_callable<decltype(fails), int>(callable, fails);
  detail::encode_task_arguments<decltype(fails), int>(arguments, 5);
  const auto task = detail::decode_task_callable(callable.bytes());
  auto stage = task_stage::decode_callable;
  EXPECT_THROW(task->run(arguments.bytes(), result, stage), std::out_of_range);
  EXPECT_EQ(stage, task_stage::run);
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] {
    task->run(arguments.bytes().first(3), result, stage);
    return 0;
  }));
  EXPECT_EQ(stage, task_stage::decode_arguments);
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] {
    byte_buffer longer;
    longer.append(arguments.data(), arguments.size());
    longer.append("x", 1);
    task->run(longer.bytes(), result, stage);
    return 0;
  }));

  byte_buffer null_callable;
  byte_buffer null_arguments;
  detail::encode_task_callable<decltype(as_c_text), int>(null_callable, as_c_text);
  detail::encode_task_arguments<decltype(as_c_text), int>(null_arguments, 0);
  EXPECT_THROW(detail::decode_task_callable(null_callable.bytes())
                   ->run(null_arguments.bytes(), result, stage),
               std::invalid_argument);
  EXPECT_EQ(stage, task_stage::encode_result);
}

TEST(Task, NullFunctionsAndTextsAreRefusedInTheCaller) {
  byte_buffer sink;
  int (*none)(int, int) = nullptr;
  EXPECT_THROW((detail::encode_task_callable<decltype(none), int, int>(sink, none)),
               std::invalid_argument);
  const char* text = nullptr;
  EXPECT_THROW((detail::encode_task_arguments<decltype(length), const char*>(sink, text)),
               std::invalid_argument);
  EXPECT_THROW(static_cast<void>(partial(length, text)), std::invalid_argument);
}

}  // namespace
}  // namespace troupe
