// SPDX-License-Identifier: BSD-3-Clause
//
// Limits of time: for a task from its begin (`timeout`), and from its submission (`deadline`).
//
// Prints:
//   polite: timeout_error, ran: yes; it stopped when asked
//   deaf: timeout_error, ran: maybe; its worker was replaced
//   late: timeout_error, ran: no; it never began
//   the pool goes on: 42

#include "troupe/troupe.hpp"

#include <chrono>
#include <iostream>
#include <string>
#include <thread>

using namespace std::chrono_literals;

void polite() {
  while (!troupe::this_task::stop_token().stop_requested()) {
    std::this_thread::sleep_for(1ms);
  }
}
void deaf() {
  for (;;) {
    std::this_thread::sleep_for(1h);
  }
}
int answer() {
  return 42;
}

template <class Future>
void show(const std::string& name, const Future& f, const std::string& remark) {
  try {
    f.get();
  } catch (const troupe::timeout_error& e) {
    std::cout << name << ": timeout_error, ran: " << to_string(e.ran()) << "; " << remark << '\n';
  }
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 1}};
  // A task that is over its time is asked to stop; only one that does not is killed.
  show("polite", pool.with({.timeout = 20ms}).apply_async(polite), "it stopped when asked");
  show("deaf", pool.with({.timeout = 20ms, .grace = 20ms}).apply_async(deaf),
       "its worker was replaced");
  // A deadline counts from the submission, so time in the queue counts, and all attempts do.
  const auto busy = pool.with({.timeout = 100ms}).apply_async(polite);
  show("late", pool.with({.deadline = 10ms}).apply_async(answer), "it never began");
  busy.wait();
  std::cout << "the pool goes on: " << pool.apply(answer) << '\n';
}
