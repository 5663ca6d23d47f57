// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/code_address.hpp"

#include "troupe/callable.hpp"
#include "troupe/codec.hpp"
#include "troupe/error.hpp"

#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

extern "C" int linked_times(int number);

namespace troupe {
namespace {

using test::fails_with;
using function = int (*)(int);

int local_times(int number) {
  return number * 5;
}

function open_function(const std::string& path, void*& handle) {
  handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    ADD_FAILURE() << ::dlerror();
    return nullptr;
  }
  return reinterpret_cast<function>(::dlsym(handle, "loaded_times"));
}

/// The library under another name, so that it is not the one another test has loaded.
std::string copy_of(const std::string& library, const std::string& name) {
  const auto path =
      std::filesystem::temp_directory_path() /
      (name + "_" + std::to_string(::testing::UnitTest::GetInstance()->random_seed()) + "_" +
       std::to_string(std::hash<std::string>{}(library)) + ".so");
  std::filesystem::copy_file(library, path, std::filesystem::copy_options::overwrite_existing);
  return path.string();
}

TEST(CodeAddress, AFunctionOfTheProgramTakesEightBytes) {
  const function f = local_times;
  const auto bytes = encode(f);
  EXPECT_EQ(bytes.size(), 8U);
  EXPECT_EQ(decode<function>(bytes), f);
}

TEST(CodeAddress, ANullPointerComesBackAsNull) {
  const function f = nullptr;
  EXPECT_EQ(decode<function>(encode(f)), nullptr);
}

TEST(CodeAddress, AFunctionOfALinkedLibraryIsFound) {
  const function f = linked_times;
  EXPECT_EQ(decode<function>(encode(f))(21), 42);
}

TEST(CodeAddress, AFunctionOfTheCLibraryIsFound) {
  using parse = int (*)(const char*);
  const parse f = std::atoi;
  EXPECT_EQ(decode<parse>(encode(f))("42"), 42);
}

TEST(CodeAddress, ALoadedLibraryIsFoundAndLoadedAgainWhereItIsNot) {
  void* handle = nullptr;
  const function f = open_function(LOADED_LIBRARY, handle);
  ASSERT_NE(f, nullptr);
  const auto bytes = encode(f);
  EXPECT_GT(bytes.size(), 8U);
  EXPECT_EQ(decode<function>(bytes), f);
  ASSERT_EQ(::dlclose(handle), 0);
  EXPECT_EQ(decode<function>(bytes)(14), 42) << "loaded by decode, for good";
}

TEST(CodeAddress, AnEqualBuildUnderAnotherPathIsTheSameCode) {
  void* handle = nullptr;
  const function f = open_function(LOADED_LIBRARY, handle);
  ASSERT_NE(f, nullptr);
  const auto bytes = encode(f);
  const std::string moved = copy_of(LOADED_LIBRARY, "moved");
  ASSERT_EQ(::dlclose(handle), 0);
  void* other = nullptr;
  ASSERT_NE(open_function(moved, other), nullptr);
  EXPECT_EQ(decode<function>(bytes)(14), 42);
  ::dlclose(other);
  std::filesystem::remove(moved);
}

TEST(CodeAddress, AnotherBuildUnderTheSamePathIsRefused) {
  const std::string path = copy_of(LOADED_LIBRARY, "rebuilt");
  void* handle = nullptr;
  const function f = open_function(path, handle);
  ASSERT_NE(f, nullptr);
  auto bytes = encode(f);
  ASSERT_EQ(::dlclose(handle), 0);
  // A new file, as an installation makes it, so that nothing that is still mapped changes.
  std::filesystem::remove(path);
  std::filesystem::copy_file(REBUILT_LIBRARY, path);
  // No library with the old build id may be loaded for this, and an earlier test may have done so:
  // flip a bit of the id instead, which is what the message ends with.
  bytes.back() ^= std::byte{1};
  EXPECT_TRUE(fails_with(errc::unknown_function, [&] { return decode<function>(bytes); }));
  std::filesystem::remove(path);
}

TEST(CodeAddress, DataIsNoCode) {
  static int data = 0;
  detail::byte_buffer buffer;
  output_archive ar{buffer};
  EXPECT_TRUE(fails_with(errc::unknown_function, [&] {
    detail::encode_code_address(ar, &data);
    return 0;
  }));
}

TEST(CodeAddress, ATaskForALibraryRunsThere) {
  detail::byte_buffer callable;
  detail::byte_buffer arguments;
  detail::encode_task_callable<function, int>(callable, linked_times);
  detail::encode_task_arguments<function, int>(arguments, 21);
  detail::byte_buffer result;
  detail::task_stage stage{};
  detail::decode_task_callable(callable.bytes())->run(arguments.bytes(), result, stage);
  EXPECT_EQ(decode<int>(result.bytes()), 42);
}

TEST(CodeAddress, ManyThreadsFindTheSameAddresses) {
  std::vector<std::jthread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int round = 0; round < 200; ++round) {
        const function f = round % 2 == 0 ? linked_times : local_times;
        if (decode<function>(encode(f)) != f) {
          std::abort();
        }
      }
    });
  }
}

TEST(BuildId, IsThereAndStaysTheSame) {
  const auto id = detail::program_build_id();
  EXPECT_GE(id.size(), 8U);
  EXPECT_EQ(id.data(), detail::program_build_id().data());
}

}  // namespace
}  // namespace troupe
