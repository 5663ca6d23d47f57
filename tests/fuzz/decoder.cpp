// SPDX-License-Identifier: BSD-3-Clause
// Feeds bytes to every decoder that meets bytes of other processes. Whatever they are, the only way
// out is a value or an error of ours, and a value that was accepted survives another round trip.
//
// As a libFuzzer target (Clang):  cmake --build DIR --target fuzz_decoder &&
// DIR/tests/fuzz/fuzz_decoder With any compiler: decoder_test.cpp feeds it a bounded number of
// mutations.
#include "decoder.hpp"

#include "troupe/callable.hpp"
#include "troupe/codec.hpp"
#include "troupe/error.hpp"

#include <cstdlib>

namespace {

using troupe::error;

struct node {
  std::string name;
  std::vector<node> children;
  std::unique_ptr<node> next;
  std::shared_ptr<int> shared;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(name, children, next, shared);
  }
};

using mixed = std::tuple<bool, std::vector<bool>, std::map<std::string, std::vector<double>>,
                         std::unordered_map<int, std::optional<std::string>>,
                         std::variant<std::monostate, int, std::string, std::vector<char>>,
                         std::list<std::pair<int, std::u32string>>, std::bitset<13>,
                         std::vector<std::tuple<>>, std::set<std::string>, long double,
                         std::complex<float>, std::array<bool, 3>, troupe::errc>;
using pointers = std::vector<std::pair<std::shared_ptr<std::string>, std::shared_ptr<double>>>;
using value_or_failure = std::variant<std::vector<std::byte>, troupe::failure>;
using code = std::pair<int (*)(int), int (std::string::*)() const>;

template <class T>
void decode_one(std::span<const std::byte> bytes) {
  try {
    const T value = troupe::decode<T>(bytes);
    const auto again = troupe::encode(value);
    static_cast<void>(troupe::decode<T>(again));
  } catch (const error& refused) {
    if (refused.what() == nullptr || refused.ran() != troupe::task_ran::no) {
      std::abort();
    }
  }
}

std::size_t use(std::string_view text, std::span<const double> numbers, const node& tree) {
  double sum = 0;
  for (const double number : numbers) {
    sum += number;
  }
  std::size_t count = text.size() + tree.name.size() + (sum > 0 ? 1 : 0);
  for (const char c : text) {
    count += c == 'x' ? 1 : 0;
  }
  return count;
}

/// The arguments of a task whose callable is known. The callable itself is a code address, which
/// only peers that may run code can send; random ones would run random code.
void run_task(std::span<const std::byte> bytes) {
  static const auto task = [] {
    troupe::detail::byte_buffer callable;
    troupe::detail::encode_task_callable<decltype(use), std::string, std::vector<double>, node>(
        callable, use);
    return troupe::detail::decode_task_callable(callable.bytes());
  }();
  troupe::detail::byte_buffer result;
  troupe::detail::task_stage stage{};
  try {
    task->run(bytes, result, stage);
  } catch (const error&) {
    if (stage != troupe::detail::task_stage::decode_arguments) {
      std::abort();
    }
  }
}

template <class T>
std::vector<std::byte> seed(std::uint8_t kind, const T& value) {
  std::vector<std::byte> bytes{std::byte{kind}};
  const auto encoded = troupe::encode(value);
  bytes.insert(bytes.end(), encoded.begin(), encoded.end());
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::span<const std::byte> bytes{reinterpret_cast<const std::byte*>(data) + 1, size - 1};
  switch (data[0] % 7) {
    case 0:
      decode_one<node>(bytes);
      break;
    case 1:
      decode_one<mixed>(bytes);
      break;
    case 2:
      decode_one<pointers>(bytes);
      break;
    case 3:
      decode_one<troupe::failure>(bytes);
      break;
    case 4:
      decode_one<value_or_failure>(bytes);
      break;
    case 5:
      decode_one<code>(bytes);
      break;
    default:
      run_task(bytes);
      break;
  }
  return 0;
}

std::vector<std::vector<std::byte>> decoder_seeds() {
  node tree{"root", {}, std::make_unique<node>(), std::make_shared<int>(5)};
  tree.children.resize(2);
  tree.children[0].name = "child";
  tree.children[1].shared = tree.shared;
  troupe::failure failed;
  failed.type_name = "type";
  failed.text = "text";
  failed.causes = {{"a", "b"}};
  const auto text = std::make_shared<std::string>("shared");

  std::vector<std::vector<std::byte>> seeds;
  seeds.push_back(seed(0, tree));
  seeds.push_back(seed(1, mixed{true,
                                {true, false},
                                {{"k", {1, 2}}},
                                {{1, "x"}, {2, std::nullopt}},
                                "text",
                                {{1, U"wide"}},
                                5,
                                {{}, {}},
                                {"a", "b"},
                                1.5L,
                                {1, 2},
                                {true, false, true},
                                troupe::errc::timeout}));
  seeds.push_back(seed(2, pointers{{text, std::make_shared<double>(1)}, {text, nullptr}}));
  seeds.push_back(seed(3, failed));
  seeds.push_back(seed(4, value_or_failure{failed}));
  seeds.push_back(seed(5, code{[](int x) { return x; }, nullptr}));
  troupe::detail::byte_buffer arguments;
  arguments.append("\x06", 1);
  troupe::detail::encode_task_arguments<decltype(use), std::string, std::vector<double>, node>(
      arguments, std::string{"text"}, std::vector<double>{1, 2}, tree);
  seeds.emplace_back(arguments.bytes().begin(), arguments.bytes().end());
  return seeds;
}
