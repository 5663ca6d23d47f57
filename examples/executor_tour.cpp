// SPDX-License-Identifier: BSD-3-Clause
//
// An executor: submit a call, look at its future before and after, and leave the scope when all is
// done.
//
// Prints:
//   ready before it is asked to stop: false
//   result: 42
//   ready after: true, successful: true
//   a failure: argument 13 brings bad luck
//   submitted after shutdown: refused

#include "troupe/executor.hpp"

#include <chrono>
#include <iostream>
#include <stdexcept>
#include <thread>

int doubled(int x) {
  if (x == 13) {
    throw std::invalid_argument{"argument 13 brings bad luck"};
  }
  return 2 * x;
}

/// Until it is asked to stop.
int patient() {
  const auto stop = troupe::this_task::stop_token();
  while (!stop.stop_requested()) {
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return 42;
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  std::cout << std::boolalpha;
  troupe::process_pool_executor executor{{.workers = 2}};

  troupe::future<int> answer = executor.submit(patient);
  std::cout << "ready before it is asked to stop: " << answer.ready() << '\n';
  while (!answer.running()) {
  }
  answer.cancel();  // it is running: this only sets its stop_token
  std::cout << "result: " << answer.get() << '\n';
  std::cout << "ready after: " << answer.ready() << ", successful: " << answer.successful() << '\n';

  try {
    executor.submit(doubled, 13).get();
  } catch (const std::invalid_argument& problem) {
    std::cout << "a failure: " << problem.what() << '\n';
  }

  executor.shutdown();  // waits for all, as leaving the scope would
  try {
    executor.submit(doubled, 1);
  } catch (const troupe::pool_closed&) {
    std::cout << "submitted after shutdown: refused\n";
  }
}
