// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

// Durations and clocks. <chrono> of libstdc++ also brings calendars, streams and locales, which cost
// a user's compiler more than most headers of this library; <mutex> has to bring the rest of it.
#include <version>
#if defined(__GLIBCXX__)
#include <mutex>
#else
#include <chrono>
#endif
