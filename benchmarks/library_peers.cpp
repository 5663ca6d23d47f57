// SPDX-License-Identifier: BSD-3-Clause
#include "library_peers.hpp"

#include "troupe/connection.hpp"

#include "budgets.hpp"
#include "plain_child.hpp"

#ifdef TROUPE_BENCH_BOOST
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/interprocess/ipc/message_queue.hpp>
#endif
#ifdef TROUPE_BENCH_TBB
#include <tbb/global_control.h>
#include <tbb/task_group.h>
#endif
#ifdef TROUPE_BENCH_ZEROMQ
#include <zmq.h>
#endif

#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <future>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench {
namespace {

[[maybe_unused]] std::string name_of_this_run() {
  static int runs = 0;
  return "troupe-bench-" + std::to_string(::getpid()) + "-" + std::to_string(++runs);
}

[[maybe_unused]] void nothing() {}

}  // namespace

#ifdef TROUPE_BENCH_BOOST
namespace {

/// A queue of ints that both processes have; its name is gone at once.
class boost_queue {
 public:
  explicit boost_queue(std::size_t places)
      : name_{name_of_this_run()},
        queue_{boost::interprocess::create_only, name_.c_str(), places, sizeof(int)} {
    boost::interprocess::message_queue::remove(name_.c_str());
  }
  void put(int value) { queue_.send(&value, sizeof value, 0); }
  int get() {
    int value = 0;
    boost::interprocess::message_queue::size_type bytes = 0;
    unsigned priority = 0;
    queue_.receive(&value, sizeof value, bytes, priority);
    return value;
  }

 private:
  std::string name_;
  boost::interprocess::message_queue queue_;
};

}  // namespace

double boost_queue_rate(int items, std::size_t places) {
  boost_queue queue{places};
  boost_queue taken{1};
  const forked_child consumer{[&] {
    for (;;) {
      for (int i = 0; i < items; ++i) {
        queue.get();
      }
      taken.put(items);
    }
  }};
  const auto once = [&] {
    for (int i = 0; i < items; ++i) {
      queue.put(i);
    }
    taken.get();
  };
  once();
  return items / seconds_of(once);
}

double boost_queue_round_trip(int times) {
  boost_queue there{1024};
  boost_queue back{1024};
  const forked_child echo{[&] {
    for (;;) {
      back.put(there.get());
    }
  }};
  return seconds_of([&] {
           for (int i = 0; i < times; ++i) {
             there.put(i);
             back.get();
           }
         }) /
         times;
}

double asio_rate(int tasks, int workers) {
  boost::asio::thread_pool pool{static_cast<std::size_t>(workers)};
  return tasks / seconds_of([&] {
           for (int i = 0; i < tasks; ++i) {
             boost::asio::post(pool, nothing);
           }
           pool.join();
         });
}

double asio_future_rate(int tasks, int workers) {
  boost::asio::thread_pool pool{static_cast<std::size_t>(workers)};
  std::vector<std::future<void>> futures;
  futures.reserve(static_cast<std::size_t>(tasks));
  return tasks / seconds_of([&] {
           for (int i = 0; i < tasks; ++i) {
             futures.push_back(boost::asio::post(pool, boost::asio::use_future(nothing)));
           }
           for (std::future<void>& one : futures) {
             one.get();
           }
         });
}
#else
double boost_queue_rate(int /*items*/, std::size_t /*places*/) {
  return 0;
}
double boost_queue_round_trip(int /*times*/) {
  return 0;
}
double asio_rate(int /*tasks*/, int /*workers*/) {
  return 0;
}
double asio_future_rate(int /*tasks*/, int /*workers*/) {
  return 0;
}
#endif

#ifdef TROUPE_BENCH_ZEROMQ
namespace {

/// One end of a one-way socket. Each process makes its own: its threads do not survive a fork.
class zeromq_socket {
 public:
  zeromq_socket(int type, std::size_t places)
      : context_{::zmq_ctx_new()}, socket_{::zmq_socket(context_, type)} {
    const int most = static_cast<int>(places);
    ::zmq_setsockopt(socket_, type == ZMQ_PUSH ? ZMQ_SNDHWM : ZMQ_RCVHWM, &most, sizeof most);
  }
  ~zeromq_socket() {
    ::zmq_close(socket_);
    ::zmq_ctx_term(context_);
  }
  zeromq_socket(const zeromq_socket&) = delete;
  zeromq_socket& operator=(const zeromq_socket&) = delete;

  void* get() { return socket_; }

 private:
  void* context_;
  void* socket_;
};

void check(bool works) {
  if (!works) {
    throw std::runtime_error{std::string{"ZeroMQ: "} + ::zmq_strerror(::zmq_errno())};
  }
}

}  // namespace

double zeromq_rate(int items, std::size_t places) {
  const std::string path = std::filesystem::temp_directory_path() / name_of_this_run();
  const std::string address = "ipc://" + path;
  auto [here, there] = troupe::pipe();
  const forked_child consumer{[&, &there = there] {
    zeromq_socket socket{ZMQ_PULL, places};
    check(::zmq_bind(socket.get(), address.c_str()) == 0);
    there.send(0);
    for (;;) {
      for (int i = 0; i < items; ++i) {
        int value = 0;
        check(::zmq_recv(socket.get(), &value, sizeof value, 0) == sizeof value);
      }
      there.send(items);
    }
  }};
  static_cast<void>(here.recv<int>());
  zeromq_socket socket{ZMQ_PUSH, places};
  check(::zmq_connect(socket.get(), address.c_str()) == 0);
  const auto once = [&, &here = here] {
    for (int i = 0; i < items; ++i) {
      check(::zmq_send(socket.get(), &i, sizeof i, 0) == sizeof i);
    }
    static_cast<void>(here.recv<int>());
  };
  once();
  const double taken = seconds_of(once);
  std::filesystem::remove(path);
  return items / taken;
}
#else
double zeromq_rate(int /*items*/, std::size_t /*places*/) {
  return 0;
}
#endif

#ifdef TROUPE_BENCH_TBB
double tbb_rate(int tasks, int workers) {
  const tbb::global_control threads{tbb::global_control::max_allowed_parallelism,
                                    static_cast<std::size_t>(workers)};
  tbb::task_group group;
  return tasks / seconds_of([&] {
           for (int i = 0; i < tasks; ++i) {
             group.run(nothing);
           }
           group.wait();
         });
}
#else
double tbb_rate(int /*tasks*/, int /*workers*/) {
  return 0;
}
#endif

}  // namespace bench
