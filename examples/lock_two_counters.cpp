// SPDX-License-Identifier: BSD-3-Clause
//
// Two processes count to three under one lock: the second one waits for the first.
//
// Prints:
//   first: 1
//   first: 2
//   first: 3
//   second: 1
//   second: 2
//   second: 3

#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/process.hpp"
#include "troupe/system.hpp"

#include <iostream>
#include <mutex>
#include <string>

void count(const std::string& name, troupe::mutex lock, troupe::event has_it) {
  const std::scoped_lock all_of_it{lock};
  has_it.set();
  for (int i = 1; i <= 3; ++i) {
    std::cout << name << ": " << i << std::endl;
  }
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::mutex lock;
  troupe::event first_has_it;
  troupe::process first{count, "first", lock, first_has_it};
  troupe::process second{count, "second", lock, troupe::event{}};
  first.start();
  first_has_it.wait();
  second.start();
  first.join();
  second.join();
}
