// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>

// C++ libraries that are measured beside ours where they are installed (see CMakeLists.txt). Each
// function measures once; 0: the library was not there when this was built.
namespace bench {

/// Items a second that go one way, each by itself, from this process through so many places to a
/// forked one, the second time. The clock stops when the last one has been taken there.
double boost_queue_rate(int items, std::size_t places);
double zeromq_rate(int items, std::size_t places);
/// Seconds for a number to the forked process and back.
double boost_queue_round_trip(int times);

/// Tasks that do nothing, a second, on so many threads. The clock stops when all have run.
double tbb_rate(int tasks, int workers);
double asio_rate(int tasks, int workers);
/// The same with a future for each, as in our pools.
double asio_future_rate(int tasks, int workers);

}  // namespace bench
