// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "link_double.hpp"
#include "runtime/shared/shared_fixture.hpp"

#include <gtest/gtest.h>

#include <exception>
#include <functional>
#include <thread>
#include <utility>

// Checks that run on a handle of an object that is here, and on one that came to another machine.
namespace troupe::test {

struct here {
  template <class T>
  T operator()(const T& handle) {
    return handle;
  }
};

struct on_another_machine {
  link_double link;
  template <class T>
  T operator()(const T& handle) {
    return link.to_importer(handle);
  }
};

template <class Where>
class both_places : public shared_objects {
 protected:
  Where to_importer;

  /// Runs in a thread of its own; the exception of one is rethrown by `join`.
  class worker {
   public:
    explicit worker(std::function<void()> body)
        : thread_{[this, run = std::move(body)] {
            try {
              run();
            } catch (...) {  // for join
              thrown_ = std::current_exception();
            }
          }} {}
    void join() {
      thread_.join();
      if (thrown_ != nullptr) {
        std::rethrow_exception(thrown_);
      }
    }

   private:
    std::exception_ptr thrown_;
    std::thread thread_;
  };
};

using places = testing::Types<here, on_another_machine>;

}  // namespace troupe::test
