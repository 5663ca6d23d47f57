// SPDX-License-Identifier: BSD-3-Clause
//
// A tree of two levels: a cache, and behind it a supervisor with a pool and a service. The service
// dies more often than its supervisor allows, so that gives up, and is started anew with all that it
// has; the cache is left alone.
//
// Prints:
//   cache: service, run 1
//   web: supervisor, run 1
//   web/resize: pool, run 1
//   web/feed: service, run 1
//   20 images resized to 2.5
//   web/feed dies twice, one time more than web allows
//   web ended: gave_up
//   cache: service, run 1
//   web: supervisor, run 2
//   web/resize: pool, run 1
//   web/feed: service, run 1
//   20 images resized to 2.5

#include "troupe/supervised_pool.hpp"
#include "troupe/system.hpp"
#include "troupe/this_service.hpp"

#include <signal.h>

#include <chrono>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

void serve() {
  troupe::this_service::ready();
  while (troupe::this_service::sleep_for(1h)) {
  }
}
double resize(int size) {
  return size / 8.0;
}

void print(const troupe::supervisor& tree, const troupe::supervisor& web) {
  for (const troupe::child_status& one : tree.children()) {
    std::cout << one.name << ": " << one.kind << ", run " << one.incarnation << '\n';
  }
  for (const troupe::child_status& one : web.children()) {
    std::cout << "web/" << one.name << ": " << one.kind << ", run " << one.incarnation << '\n';
  }
  const auto sizes = tree.pool("web/resize").map(resize, std::vector<int>(20, 20));
  std::cout << sizes.size() << " images resized to " << sizes.front() << '\n';
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::supervisor web{{.limits = {.intensity = 1, .period = 1h}, .name = "web"}};
  web.add(troupe::child_pool("resize", {.workers = 2}));
  web.add(troupe::child_service("feed", serve, {.after = {"resize"}}));
  troupe::supervisor tree{{.name = "shop"}};
  tree.add(troupe::child_service("cache", serve));
  tree.add(troupe::child_supervisor("web", web, {.after = {"cache"}}));
  tree.start();
  print(tree, web);

  std::cout << "web/feed dies twice, one time more than web allows\n";
  for (std::uint64_t run = 1; run <= 2; ++run) {
    while (tree.child("web/feed").incarnation != run || !tree.child("web/feed").ready) {
      std::this_thread::sleep_for(1ms);
    }
    ::kill(static_cast<pid_t>(tree.child("web/feed").pid), SIGKILL);
  }
  while (tree.child("web").incarnation < 2 || !tree.child("web").ready) {
    std::this_thread::sleep_for(1ms);
  }
  std::cout << "web ended: " << to_string(tree.child("web").last_death->cause) << '\n';
  print(tree, web);
}
