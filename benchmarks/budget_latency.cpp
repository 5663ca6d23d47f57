// SPDX-License-Identifier: BSD-3-Clause

// How long one task takes there and back, and how long a death takes to be known and repaired.

#include "troupe/pool.hpp"

#include "budgets.hpp"
#include "plain_child.hpp"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <thread>

namespace bench {
namespace {

void nothing() {}

void hang() {
  for (;;) {
    ::pause();
  }
}

void ping(int socket) {
  std::array<char, 64> buffer{};
  if (::write(socket, buffer.data(), buffer.size()) != 64) {
    throw std::runtime_error{"the echoing child is gone"};
  }
  for (ssize_t got = 0; got < 64;) {
    const ssize_t n = ::read(socket, buffer.data(), buffer.size());
    if (n <= 0) {
      throw std::runtime_error{"the echoing child is gone"};
    }
    got += n;
  }
}

struct round_trips {
  std::vector<double> ours;
  std::vector<double> peer;
};

/// Rounds of a few hundred each, in turns, so that what else the machine does hits both.
round_trips measure_round_trips(int workers, int rounds) {
  constexpr int per_round = 250;
  troupe::pool pool{{.workers = workers}};
  const plain_child echo{echo_64};
  round_trips found;
  for (int round = -1; round < rounds; ++round) {
    for (int i = 0; i < per_round; ++i) {
      const double taken = seconds_of([&] { pool.apply(nothing); });
      if (round >= 0) {
        found.ours.push_back(taken);
      }
    }
    for (int i = 0; i < per_round; ++i) {
      const double taken = seconds_of([&] { ping(echo.socket()); });
      if (round >= 0) {
        found.peer.push_back(taken);
      }
    }
  }
  return found;
}

}  // namespace

void round_trip(report& to) {
  const auto one = measure_round_trips(1, to.rounds(40));
  to.add(row_of("round_trip.apply", unit::seconds, one.ours, one.peer, "socketpair ping-pong",
                ratio_at_most(2), "1 worker"));
  to.add({"round_trip.apply_p99", unit::seconds, percentile_99(one.ours), percentile_99(one.peer),
          "socketpair ping-pong", no_budget, "99th percentile"});
  const auto two = measure_round_trips(2, to.rounds(40));
  to.add(row_of("round_trip.apply_2_workers", unit::seconds, two.ours, two.peer,
                "socketpair ping-pong", no_budget));
  python_peer python;
  if (python.there()) {
    to.add({"round_trip.apply_python",
            unit::seconds,
            median(one.ours),
            python.seconds("round_trip", to.rounds(4000)),
            "Pool.apply",
            no_budget,
            {}});
  }
}

void kill_notice(report& to) {
  const int rounds = to.rounds(200);
  // Every death counts against a limit that is there for tasks that crash on their own.
  troupe::pool pool{{.workers = 1, .restart = {.intensity = 1'000'000}}};
  std::vector<double> failed;
  std::vector<double> served;
  std::vector<double> kernel;
  for (int round = 0; round < rounds; ++round) {
    auto lost = pool.apply_async(hang);
    while (!lost.running()) {
      std::this_thread::sleep_for(std::chrono::microseconds{100});
    }
    const auto victim = static_cast<pid_t>(pool.workers().front().pid);
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
    const auto begin = clock::now();
    ::kill(victim, SIGKILL);
    lost.wait();
    failed.push_back(seconds_since(begin));
    pool.apply(nothing);
    served.push_back(seconds_since(begin));
    if (lost.exception() == nullptr) {
      throw std::runtime_error{"the task of a killed worker had a value"};
    }
    kernel.push_back(seconds_to_notice_kill());
  }
  const std::string peer = "pidfd of a killed sleep";
  to.add(row_of("kill.failed_future", unit::seconds, failed, kernel, peer, ours_at_most(1e-3),
                "p99 " + format(percentile_99(failed), unit::seconds)));
  to.add(row_of("kill.replacement_served", unit::seconds, served, kernel, peer, ours_at_most(5e-3),
                "p99 " + format(percentile_99(served), unit::seconds)));
}

}  // namespace bench
