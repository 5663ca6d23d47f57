// SPDX-License-Identifier: BSD-3-Clause
// Precompiled for the tests without processes: what many of them include, and nothing that they may be edited with.
#pragma once

#include "troupe/array.hpp"
#include "troupe/codec.hpp"
#include "troupe/condition.hpp"
#include "troupe/connection.hpp"
#include "troupe/error.hpp"
#include "troupe/listener.hpp"
#include "troupe/queue.hpp"
#include "troupe/shared_memory.hpp"
#include "troupe/value.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iostream>
#include <iterator>
#include <latch>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <random>
#include <ranges>
#include <set>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>
