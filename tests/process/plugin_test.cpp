// SPDX-License-Identifier: BSD-3-Clause
// A plugin that has a copy of the library of its own is told so; the program goes on.
#include "pool_fixture.hpp"

#include <dlfcn.h>

#include <array>
#include <string>

namespace troupe::test {
namespace {

class Plugin : public every_start_method {
 protected:
  Plugin() : plugin_{::dlopen(TROUPE_PLUGIN, RTLD_NOW | RTLD_LOCAL)} {}
  ~Plugin() override { ::dlclose(plugin_); }

  template <class Function>
  Function* find(const char* name) const {
    return reinterpret_cast<Function*>(::dlsym(plugin_, name));
  }
  void expect_told_of_both_copies(errc code, int got) const {
    EXPECT_EQ(static_cast<errc>(got), code);
    const std::string text{text_.data()};
    EXPECT_NE(text.find(TROUPE_PLUGIN), std::string::npos) << text;
    EXPECT_NE(text.find("plugin_test"), std::string::npos) << text;
    EXPECT_NE(text.find("as a shared library"), std::string::npos) << text;
  }

  std::array<char, 1000> text_{};

 private:
  void* const plugin_;
};

TROUPE_FOR_EVERY_START_METHOD(Plugin);

TEST_P(Plugin, WithACopyOfTheLibraryIsToldSoByAPool) {
  auto* const make_a_pool = find<int(char*, std::size_t)>("make_a_pool");
  ASSERT_NE(make_a_pool, nullptr) << ::dlerror();
  pool p{options(1)};
  expect_told_of_both_copies(errc::not_bootstrapped, make_a_pool(text_.data(), text_.size()));
  EXPECT_EQ(p.apply(square, 3), 9);
}

TEST_P(Plugin, WithACopyOfTheLibraryIsToldSoByASystem) {
  auto* const make_a_system = find<int(int, char**, char*, std::size_t)>("make_a_system");
  ASSERT_NE(make_a_system, nullptr) << ::dlerror();
  std::string name{"plugin_test"};
  std::array<char*, 2> arguments{name.data(), nullptr};
  pool p{options(1)};
  expect_told_of_both_copies(errc::already_bootstrapped,
                             make_a_system(1, arguments.data(), text_.data(), text_.size()));
  EXPECT_EQ(p.apply(square, 3), 9);
}

}  // namespace
}  // namespace troupe::test
