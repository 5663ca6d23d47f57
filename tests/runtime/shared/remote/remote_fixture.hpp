// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/error.hpp"
#include "troupe/log.hpp"

#include "link_double.hpp"
#include "runtime/shared/shared_fixture.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string_view>

namespace troupe::test {

/// Tests of objects that are exported to another machine.
class remote_objects : public shared_objects {
 protected:
  remote_objects() {
    // Warnings are expected here.
    set_log_hook([](log_level, std::string_view) {});
  }
  ~remote_objects() override { set_log_hook({}); }

  std::optional<link_double> link{std::in_place};

  /// That the link was lost in it, and what is known of it then.
  static testing::AssertionResult is_lost(task_ran ran, const std::function<void()>& operation) {
    try {
      operation();
    } catch (const error& why) {
      if (why.code() == errc::connection_lost && why.ran() == ran) {
        return testing::AssertionSuccess();
      }
      return testing::AssertionFailure() << to_string(why.code()) << ": " << why.what();
    }
    return testing::AssertionFailure() << "it did not fail";
  }
  bool lost_before_it_was_done(const std::function<void()>& operation) {
    link->cut_instead_of_next(link_double::to_exporter);
    const bool lost = is_lost(task_ran::maybe, operation);
    link->cut();  // returns when both ends know
    return lost;
  }
  bool lost_after_it_was_done(const std::function<void()>& operation) {
    link->cut_instead_of_next(link_double::to_remote);
    const bool lost = is_lost(task_ran::maybe, operation);
    link->cut();
    return lost;
  }
};

}  // namespace troupe::test
