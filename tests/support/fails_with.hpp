// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/error.hpp"

#include <gtest/gtest.h>

#include <exception>

namespace troupe::test {

/// Whether `call` throws troupe::error (or a kind of it) with exactly this code.
///
/// Use: EXPECT_TRUE(fails_with(errc::pool_closed, [&] { pool.submit(answer); }));
template <class Call>
[[nodiscard]] testing::AssertionResult fails_with(errc code, Call&& call) {
  try {
    static_cast<void>(call());
  } catch (const error& caught) {
    if (caught.code() == code) {
      return testing::AssertionSuccess() << "threw " << to_string(code) << ": " << caught.what();
    }
    return testing::AssertionFailure() << "threw " << to_string(caught.code()) << " instead of "
                                       << to_string(code) << ": " << caught.what();
  } catch (const std::exception& caught) {
    return testing::AssertionFailure()
           << "threw no troupe::error " << to_string(code) << " but: " << caught.what();
  } catch (...) {
    return testing::AssertionFailure()
           << "threw no troupe::error " << to_string(code) << " but something without a text";
  }
  return testing::AssertionFailure() << "did not throw " << to_string(code);
}

}  // namespace troupe::test
