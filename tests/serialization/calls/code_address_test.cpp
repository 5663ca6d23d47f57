// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/code_address.hpp"

#include "troupe/callable.hpp"
#include "troupe/codec.hpp"
#include "troupe/error.hpp"

#include "support/fails_with.hpp"
#include "symbols/image_id.hpp"
#include "symbols/symbols.hpp"

#include <gtest/gtest.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

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

TEST(CodeAddress, AnotherBuildWithoutABuildIdIsRefusedToo) {
  const std::string path = copy_of(PLAIN_LIBRARY, "plain");
  void* handle = nullptr;
  const function f = open_function(path, handle);
  ASSERT_NE(f, nullptr);
  const auto bytes = encode(f);
  EXPECT_EQ(decode<function>(bytes)(2), 10);
  ASSERT_EQ(::dlclose(handle), 0);
  std::filesystem::remove(path);
  std::filesystem::copy_file(REBUILT_PLAIN_LIBRARY, path);
  EXPECT_TRUE(fails_with(errc::unknown_function, [&] { return decode<function>(bytes)(2); }))
      << "what is at that place of the other build would run";
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

std::string id_of(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const auto id = detail::id_of_file(file);
  ::close(file);
  return std::string{id.text()};
}

TEST(ImageId, OfAFileIsThatOfWhatIsLoadedFromIt) {
  for (const char* path : {LOADED_LIBRARY, REBUILT_LIBRARY, PLAIN_LIBRARY, REBUILT_PLAIN_LIBRARY}) {
    void* handle = nullptr;
    const function f = open_function(path, handle);
    ASSERT_NE(f, nullptr);
    const auto loaded = detail::find_loaded_image(id_of(path));
    ASSERT_TRUE(loaded) << path;
    EXPECT_EQ(loaded->path, std::filesystem::canonical(path).string());
    Dl_info found{};
    ASSERT_NE(::dladdr(reinterpret_cast<const void*>(f), &found), 0);
    EXPECT_EQ(reinterpret_cast<void*>(loaded->base), found.dli_fbase);
    const auto first = reinterpret_cast<std::uintptr_t>(found.dli_fbase);
    EXPECT_EQ(detail::id_of_mapped(first, first + std::filesystem::file_size(path)).text(),
              id_of(path))
        << "as a signal handler reads it";
    ::dlclose(handle);
  }
  ASSERT_TRUE(detail::find_loaded_image(id_of("/proc/self/exe")));
  EXPECT_EQ(detail::find_loaded_image(id_of("/proc/self/exe"))->path, "/proc/self/exe");
}

TEST(ImageId, TellsBuildsApartThatHaveNone) {
  EXPECT_TRUE(id_of(PLAIN_LIBRARY).starts_with("code:")) << id_of(PLAIN_LIBRARY);
  EXPECT_NE(id_of(PLAIN_LIBRARY), id_of(REBUILT_PLAIN_LIBRARY));
  EXPECT_FALSE(id_of(LOADED_LIBRARY).starts_with("code:"));
  EXPECT_EQ(id_of("/etc/passwd"), "");
  EXPECT_EQ(id_of("/dev/null"), "");
}

TEST(ImageId, NamesAreTakenFromNoOtherBuild) {
  void* handle = nullptr;
  const function f = open_function(LOADED_LIBRARY, handle);
  ASSERT_NE(f, nullptr);
  const auto offset =
      reinterpret_cast<std::uintptr_t>(f) - detail::find_loaded_image(id_of(LOADED_LIBRARY))->base;
  ::dlclose(handle);
  const auto line = [&](const char* path, const std::string& id) {
    return detail::describe_code(std::vector<code_location>{{path, offset, id}}).front();
  };
  const std::string here = std::filesystem::path{REBUILT_LIBRARY}.filename().string() + "+0x";
#if TROUPE_TEST_SYMBOLS
  EXPECT_TRUE(line(LOADED_LIBRARY, id_of(LOADED_LIBRARY)).starts_with("loaded_times"));
  EXPECT_TRUE(line(REBUILT_LIBRARY, "0badc0de").ends_with(" (another build is in its place now)"));
  EXPECT_TRUE(line("/nowhere/library.so", "0badc0de").ends_with(" (its file is gone)"));
#endif
  EXPECT_TRUE(line(REBUILT_LIBRARY, "0badc0de").starts_with(here));
  EXPECT_TRUE(line(REBUILT_LIBRARY, "").starts_with(here)) << "not known which build it was";
}

TEST(BuildId, IsThereAndStaysTheSame) {
  const auto id = detail::program_build_id();
  EXPECT_GE(id.size(), 8U);
  EXPECT_EQ(id.data(), detail::program_build_id().data());
}

}  // namespace
}  // namespace troupe
