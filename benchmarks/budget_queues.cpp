// SPDX-License-Identifier: BSD-3-Clause

// What processes say to each other: queues and pipes between this process and a forked one.

#include "troupe/connection.hpp"
#include "troupe/queue.hpp"

#include "budgets.hpp"
#include "library_peers.hpp"
#include "plain_child.hpp"

#include <sched.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <string>

namespace bench {
namespace {

/// From the first put until the other process has the last item; once for each round.
template <class T>
std::vector<double> measure_queue(const T& item, int items, std::size_t capacity, int rounds) {
  troupe::queue<T> queue{capacity};
  auto [here, there] = troupe::pipe();
  const forked_child consumer{[&, &there = there] {
    for (;;) {
      for (int i = 0; i < items; ++i) {
        static_cast<void>(queue.get());
      }
      there.send(items);
    }
  }};
  std::vector<double> found;
  for (int round = -1; round < rounds; ++round) {
    const double taken = seconds_of([&, &here = here] {
      for (int i = 0; i < items; ++i) {
        queue.put(item);
      }
      static_cast<void>(here.recv<int>());
    });
    if (round >= 0) {
      found.push_back(items / taken);
    }
  }
  return found;
}

/// The same for numbers through a new queue, once.
double rate_of_ints(int items, std::size_t places) {
  return measure_queue(1, items, places, 1).front();
}

double round_trip_of_ints(int times) {
  troupe::queue<int> there{1024};
  troupe::queue<int> back{1024};
  const forked_child echo{[&] {
    for (;;) {
      back.put(there.get());
    }
  }};
  return seconds_of([&] {
           for (int i = 0; i < times; ++i) {
             there.put(i);
             static_cast<void>(back.get());
           }
         }) /
         times;
}

/// Beside the libraries of C++, which take turns with ours.
void queues_beside_libraries(report& to) {
  constexpr int items = 300'000;
  constexpr std::size_t places = 1024;
  constexpr int trips = 10'000;
  std::vector<double> ours;
  std::vector<double> boost;
  std::vector<double> zeromq;
  std::vector<double> our_trips;
  std::vector<double> boost_trips;
  const auto add = [](std::vector<double>& samples, double found) {
    if (found != 0) {
      samples.push_back(found);
    }
  };
  for (int round = 0; round < to.rounds(12); ++round) {
    add(ours, rate_of_ints(items, places));
    add(boost, boost_queue_rate(items, places));
    add(zeromq, zeromq_rate(items, places));
    add(our_trips, round_trip_of_ints(trips));
    add(boost_trips, boost_queue_round_trip(trips / 10));
  }
  to.add(row_of("queue.one_way", unit::per_second, ours, boost, "Boost's message_queue",
                ratio_at_least(1), "1,024 places"));
  to.add(row_of("queue.one_way_zeromq", unit::per_second, ours, zeromq, "ZeroMQ over ipc",
                ratio_at_least(1), "1,024 places"));
  to.add(row_of("queue.round_trip", unit::seconds, our_trips, boost_trips, "Boost's message_queue",
                ratio_at_most(1)));
}

/// This thread, and the processes it forks meanwhile, on one CPU.
class on_one_cpu {
 public:
  on_one_cpu() {
    ::sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(static_cast<unsigned>(::sched_getcpu()), &here);
    ::sched_setaffinity(0, sizeof here, &here);
  }
  ~on_one_cpu() { ::sched_setaffinity(0, sizeof before_, &before_); }
  on_one_cpu(const on_one_cpu&) = delete;
  on_one_cpu& operator=(const on_one_cpu&) = delete;

 private:
  cpu_set_t before_{};
};

std::vector<double> rates_of_python(python_peer& python, const std::string& what, int items,
                                    int rounds) {
  std::vector<double> found;
  for (int round = 0; python.there() && round < rounds; ++round) {
    found.push_back(items / python.seconds(what, items));
  }
  return found;
}

}  // namespace

void queues(report& to) {
  python_peer python;
  to.add(row_of("queue.ints", unit::per_second, measure_queue(1, 50'000, 0, to.rounds(20)),
                rates_of_python(python, "queue_ints", 20'000, to.rounds(6)), "Python's Queue",
                ratio_at_least(10)));
  auto strings = measure_queue(std::string(std::size_t{1} << 20, 'x'), 100, 8, to.rounds(12));
  auto peers = rates_of_python(python, "queue_strings", 100, to.rounds(6));
  for (auto* rates : {&strings, &peers}) {
    for (double& rate : *rates) {
      rate *= 1 << 20;
    }
  }
  to.add(row_of("queue.strings_1_mib", unit::bytes_per_second, strings, peers, "Python's Queue",
                ratio_at_least(3)));
  queues_beside_libraries(to);
}

void pipes(report& to) {
  using message = std::array<char, 64>;
  // Waking a thread on another CPU takes three times as long as on the same one, and where the
  // kernel has put each of the two children is kept for seconds: it would decide the ratio.
  const on_one_cpu all_of_us;
  auto [here, there] = troupe::pipe();
  const forked_child ours{[&, &here = here, &there = there] {
    here.close();
    for (;;) {
      there.send(there.recv<message>());
    }
  }};
  const plain_child echo{echo_64};
  std::vector<double> found;
  std::vector<double> bare;
  message text{};
  for (int round = -1; round < to.rounds(40); ++round) {
    for (int i = 0; i < 250; ++i) {
      const double taken = seconds_of([&, &here = here] {
        here.send(text);
        text = here.recv<message>();
      });
      const double peer = seconds_of([&] {
        if (::write(echo.socket(), text.data(), text.size()) != 64 ||
            ::read(echo.socket(), text.data(), text.size()) != 64) {
          throw std::runtime_error{"the echoing child is gone"};
        }
      });
      if (round >= 0) {
        found.push_back(taken);
        bare.push_back(peer);
      }
    }
  }
  to.add(row_of("pipe.round_trip", unit::seconds, found, bare, "socketpair ping-pong",
                ratio_at_most(1.5), "both on one CPU"));
}

}  // namespace bench
