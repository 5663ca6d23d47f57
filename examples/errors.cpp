// SPDX-License-Identifier: BSD-3-Clause
//
// What the caller sees of each kind of failure. (On stderr, the log tells of workers that died.)
//
// Prints:
//   out_of_range: no item 7
//   remote_error: bad_recipe: too much salt
//   worker_lost: SIGKILL (signal 9); ran: maybe
//   retried: attempt 2
//   timeout; ran: yes
//   cancelled; ran: no
//   exception: no model
//   pool_closed; ran: no

#include "troupe/pool.hpp"

#include <signal.h>

#include <chrono>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>

using namespace std::chrono_literals;

struct bad_recipe : std::exception {
  const char* what() const noexcept override { return "too much salt"; }
};
unsigned die_once() {
  if (troupe::this_task::attempt() == 1) {
    ::raise(SIGKILL);
  }
  return troupe::this_task::attempt();
}
void wait_to_be_stopped() {
  while (!troupe::this_task::stop_token().stop_requested()) {
    std::this_thread::sleep_for(1ms);
  }
}

/// What a program does with the exceptions of `get`: the special ones first.
template <class Call>
void show(Call call) {
  try {
    call();
  } catch (const std::out_of_range& e) {  // the standard's types arrive as themselves
    std::cout << "out_of_range: " << e.what() << '\n';
  } catch (const troupe::remote_error& e) {  // any other type
    std::cout << "remote_error: " << e.what() << '\n';
  } catch (const troupe::worker_lost& e) {
    std::cout << "worker_lost: " << e.reason() << "; ran: " << to_string(e.ran()) << '\n';
  } catch (const troupe::error& e) {
    std::cout << to_string(e.code()) << "; ran: " << to_string(e.ran()) << '\n';
  } catch (const std::exception& e) {
    std::cout << "exception: " << e.what() << '\n';
  }
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 1}};
  show([&] {
    pool.apply([](int i) { throw std::out_of_range{"no item " + std::to_string(i)}; }, 7);
  });
  show([&] { pool.apply([] { throw bad_recipe{}; }); });
  show([&] { pool.apply(die_once); });
  std::cout << "retried: attempt " << pool.with({.retries = 1}).apply(die_once) << '\n';
  show([&] { pool.with({.timeout = 50ms}).apply(wait_to_be_stopped); });
  const auto running = pool.apply_async(wait_to_be_stopped);
  auto queued = pool.apply_async(std::terminate);
  queued.cancel();
  show([&] { queued.get(); });
  show([] { troupe::pool{{.initializer = [] { throw std::runtime_error{"no model"}; }}}; });
  pool.terminate();
  show([&] { pool.apply(std::terminate); });
}
