// SPDX-License-Identifier: BSD-3-Clause

// Locks, values and events between this process and a forked one, and what it takes to have a
// process at all.

#include "troupe/connection.hpp"
#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/process.hpp"
#include "troupe/value.hpp"

#include "budgets.hpp"
#include "plain_child.hpp"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <new>
#include <string>
#include <system_error>

namespace bench {
namespace {

/// What the peers have in memory that processes share.
template <class T>
class shared {
 public:
  shared() {
    void* at =
        ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
      throw std::system_error{errno, std::generic_category(), "mmap"};
    }
    object_ = new (at) T{};
  }
  ~shared() { ::munmap(object_, sizeof(T)); }
  shared(const shared&) = delete;
  shared& operator=(const shared&) = delete;
  T& operator*() const { return *object_; }
  T* operator->() const { return object_; }

 private:
  T* object_;
};

void make_robust(pthread_mutex_t& mutex) {
  pthread_mutexattr_t attributes;
  ::pthread_mutexattr_init(&attributes);
  ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutex_init(&mutex, &attributes);
  ::pthread_mutexattr_destroy(&attributes);
}

/// Seconds for one `work()`, measured over many.
template <class Work>
double seconds_each(int times, const Work& work) {
  return seconds_of([&] {
           for (int i = 0; i < times; ++i) {
             work();
           }
         }) /
         times;
}

/// `work()` a second by two processes, which each do it so many times; once for each round.
template <class Work>
std::vector<double> rates_of_two(int times, int rounds, const Work& work) {
  auto [here, there] = troupe::pipe();
  const forked_child other{[&, &there = there] {
    for (;;) {
      const int count = there.recv<int>();
      for (int i = 0; i < count; ++i) {
        work();
      }
      there.send(count);
    }
  }};
  std::vector<double> found;
  for (int round = -1; round < rounds; ++round) {
    const double taken = seconds_of([&, &here = here] {
      here.send(times);
      for (int i = 0; i < times; ++i) {
        work();
      }
      static_cast<void>(here.recv<int>());
    });
    if (round >= 0) {
      found.push_back(2 * times / taken);
    }
  }
  return found;
}

/// `times` by each of so many processes, in a second.
std::vector<double> rates_of_python(python_peer& python, const std::string& what, int times,
                                    int processes, int rounds) {
  std::vector<double> found;
  for (int round = 0; python.there() && round < rounds; ++round) {
    found.push_back(processes * times / python.seconds(what, times));
  }
  return found;
}

void futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) {
  ::syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
}
void wait_for(std::atomic<std::uint32_t>& word) {
  while (word.load() == 0) {
    futex(word, FUTEX_WAIT, 0);
  }
  word.store(0);
}
void set(std::atomic<std::uint32_t>& word) {
  word.store(1);
  futex(word, FUTEX_WAKE, INT_MAX);
}
struct ping_pong {
  std::atomic<std::uint32_t> ping{0};
  std::atomic<std::uint32_t> pong{0};
};

void uncontended(report& to, python_peer& python) {
  constexpr int times = 20'000;
  troupe::mutex mutex;
  const shared<pthread_mutex_t> bare;
  make_robust(*bare);
  std::vector<double> ours;
  std::vector<double> rates;
  std::vector<double> peer;
  for (int round = 0; round < to.rounds(100); ++round) {
    ours.push_back(seconds_each(times, [&] {
      mutex.lock();
      mutex.unlock();
    }));
    peer.push_back(seconds_each(times, [&] {
      ::pthread_mutex_lock(&*bare);
      ::pthread_mutex_unlock(&*bare);
    }));
    rates.push_back(1 / ours.back());
  }
  to.add(row_of("sync.mutex", unit::seconds, ours, peer, "a robust pthread mutex",
                ratio_at_most(1.5), "lock and unlock"));
  to.add(row_of("sync.mutex_python", unit::per_second, rates,
                rates_of_python(python, "lock", 100'000, 1, to.rounds(6)), "Python's Lock",
                ratio_at_least(2)));
}

void contended(report& to, python_peer& python) {
  constexpr int times = 100'000;
  troupe::mutex mutex;
  to.add(row_of("sync.mutex_by_two", unit::per_second,
                rates_of_two(times, to.rounds(12),
                             [&] {
                               mutex.lock();
                               mutex.unlock();
                             }),
                rates_of_python(python, "lock_by_two", times / 2, 2, to.rounds(6)), "Python's Lock",
                ratio_at_least(2), "by two processes at once"));
  troupe::value<long> value;
  to.add(row_of("sync.value_by_two", unit::per_second,
                rates_of_two(times, to.rounds(12), [&] { ++*value.lock(); }),
                rates_of_python(python, "value_by_two", times / 4, 2, to.rounds(6)),
                "Python's Value", ratio_at_least(3), "++ under its lock, by two processes"));
}

void event_round_trip(report& to) {
  troupe::event ping;
  troupe::event pong;
  const forked_child ours_answers{[&] {
    for (;;) {
      ping.wait();
      ping.clear();
      pong.set();
    }
  }};
  const shared<ping_pong> bare;
  const forked_child peer_answers{[&] {
    for (;;) {
      wait_for(bare->ping);
      set(bare->pong);
    }
  }};
  std::vector<double> ours;
  std::vector<double> peer;
  for (int round = -1; round < to.rounds(40); ++round) {
    const double here = seconds_each(250, [&] {
      ping.set();
      pong.wait();
      pong.clear();
    });
    const double there = seconds_each(250, [&] {
      set(bare->ping);
      wait_for(bare->pong);
    });
    if (round >= 0) {
      ours.push_back(here);
      peer.push_back(there);
    }
  }
  to.add(row_of("sync.event_round_trip", unit::seconds, ours, peer, "bare futexes",
                ratio_at_most(2), "two wake-ups"));
}

void nothing() {}

void start_and_join_by(report& to, python_peer& python, troupe::start_method how, int times,
                       budget promised) {
  const std::string name{troupe::to_string(how)};
  std::vector<double> ours;
  std::vector<double> peer;
  for (int round = -1; round < to.rounds(10); ++round) {
    const double taken = seconds_each(times, [&] {
      troupe::process made{troupe::process_options{.start = how}, nothing};
      made.start();
      made.join();
    });
    if (round >= 0) {
      ours.push_back(taken);
      if (python.there()) {
        peer.push_back(python.seconds("process_" + name, times) / times);
      }
    }
  }
  to.add(row_of("process." + name, unit::seconds, ours, peer,
                python.there() ? "Python's " + name : "python3", promised,
                "start and join of an empty function"));
}

}  // namespace

void locks(report& to) {
  python_peer python;
  uncontended(to, python);
  contended(to, python);
  event_round_trip(to);
}

void start_and_join(report& to) {
  python_peer python;
  start_and_join_by(to, python, troupe::start_method::forkserver, 10, ratio_at_most(0.1));
  start_and_join_by(to, python, troupe::start_method::spawn, 3, ratio_at_most(0.05));
}

}  // namespace bench
