// SPDX-License-Identifier: BSD-3-Clause
// What the tests with many tasks and many deaths share: a seed, counters that all processes map,
// and a thread that kills workers.
#pragma once

#include "fault_fixture.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>
#include <iostream>
#include <random>
#include <thread>

namespace troupe::test {

/// The sanitizers slow a process down ten times and more.
[[nodiscard]] constexpr int scaled(int count) {
  return sanitized ? count / 10 : count;
}

/// Prints its seed; TROUPE_TEST_SEED repeats one.
class seeded {
 protected:
  seeded() {
    const char* given =
        std::getenv("TROUPE_TEST_SEED");  // NOLINT(concurrency-mt-unsafe): one thread
    seed_ = given == nullptr ? std::random_device{}() : static_cast<unsigned>(std::atoi(given));
    std::cout << "seed " << seed_ << std::endl;
    random_.seed(seed_);
  }
  ~seeded() = default;
  int below(int end) { return std::uniform_int_distribution{0, end - 1}(random_); }

  unsigned seed_ = 0;
  std::mt19937 random_;
};

class stress_test : public fault_test, protected seeded {
 protected:
  stress_test() : fault_test{110s} {}
};

/// How often each task ran: a file of counters that every process maps.
class effects {
 public:
  effects(const std::string& path, std::size_t count)
      : bytes_{count * sizeof(std::atomic<std::uint32_t>)} {
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat info{};
    if (file < 0 || ::fstat(file, &info) != 0 ||
        (static_cast<std::size_t>(info.st_size) < bytes_ &&
         ::ftruncate(file, static_cast<off_t>(bytes_)) != 0)) {
      throw std::runtime_error{"no file of counters"};
    }
    void* at = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ::close(file);
    if (at == MAP_FAILED) {
      throw std::runtime_error{"no mapping of counters"};
    }
    counters_ = static_cast<std::atomic<std::uint32_t>*>(at);
  }
  ~effects() { ::munmap(counters_, bytes_); }
  effects(const effects&) = delete;
  effects& operator=(const effects&) = delete;

  std::atomic<std::uint32_t>& of(int task) { return counters_[task]; }

 private:
  std::size_t bytes_;
  std::atomic<std::uint32_t>* counters_ = nullptr;
};

inline void spin_for(std::chrono::microseconds duration) {
  const auto end = std::chrono::steady_clock::now() + duration;
  while (std::chrono::steady_clock::now() < end) {
  }
}

/// Kills a worker chosen at random again and again, while it lives.
class killer {
 public:
  killer(pool& p, unsigned seed, std::chrono::milliseconds pause)
      : thread_{[this, &p, seed, pause](const std::stop_token& stop) {
          std::mt19937 random{seed};
          std::uint64_t succeeded = 0;
          while (!stop.stop_requested()) {
            // The pause is the rate of the load, nothing waits for it. On a machine that is too
            // busy to start a worker in that time, the tasks would never end: each kill has to
            // find that something was done since the last.
            std::this_thread::sleep_for(pause);
            const auto workers = p.workers();
            if (workers.empty() || p.stats().succeeded == succeeded) {
              continue;
            }
            succeeded = p.stats().succeeded;
            const auto index =
                std::uniform_int_distribution<std::size_t>{0, workers.size() - 1}(random);
            if (::kill(static_cast<pid_t>(workers[index].pid), SIGKILL) == 0) {
              kills_.fetch_add(1);
            }
          }
        }} {}
  int stop() {
    thread_.request_stop();
    thread_.join();
    return kills_;
  }

 private:
  std::atomic<int> kills_{0};
  std::jthread thread_;
};

}  // namespace troupe::test
