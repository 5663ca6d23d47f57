// SPDX-License-Identifier: BSD-3-Clause
//
// Futures in the order they end, each with its own error or result: one bad task harms no other.
//
// Prints, in the order of finishing (the test sorts):
//   a.example: 9 bytes
//   b.example: no such host
//   c.example: died of SIGSEGV
//   d.example: took too long
//   e.example: 9 bytes

#include "troupe/troupe.hpp"

#include <signal.h>

#include <chrono>
#include <cstddef>
#include <iostream>
#include <map>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

std::size_t load(std::string url) {
  switch (url.front()) {
    case 'b':
      throw std::runtime_error{"no such host"};
    case 'c':
      ::raise(SIGSEGV);
      break;
    case 'd':
      std::this_thread::sleep_for(1h);
      break;
    default:
      break;
  }
  return url.size();
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 3, .task_defaults = {.timeout = 2s, .grace = 10ms}}};
  std::map<troupe::future<std::size_t>, std::string> url_of;  // futures are keys
  for (const std::string url : {"a.example", "b.example", "c.example", "d.example", "e.example"}) {
    url_of.emplace(pool.apply_async(load, url), url);
  }
  for (troupe::future<std::size_t> f : troupe::as_completed(url_of | std::views::keys)) {
    std::cout << url_of.at(f) << ": ";
    try {
      std::cout << f.get() << " bytes\n";
    } catch (const troupe::worker_lost& e) {
      std::cout << "died of " << e.signal_name() << '\n';
    } catch (const troupe::timeout_error&) {
      std::cout << "took too long\n";
    } catch (const std::exception& e) {
      std::cout << e.what() << '\n';
    }
  }
}
