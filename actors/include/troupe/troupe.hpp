// SPDX-License-Identifier: BSD-3-Clause
#pragma once

/// @mainpage troupe
///
/// C++ functions in worker processes, each task with a certain outcome. Start at troupe::system,
/// troupe::pool and troupe::future.
///
/// How to read a description: what a class says holds for all of its members, what a member says
/// goes before it. Where neither says anything, this holds:
///
/// - *Blocks*: no. A member waits for nothing but locks that the library holds for a moment.
/// - *Threads*: as in the standard library. Several threads may call const members of one object at
///   once; other members only one thread at a time. Free functions: any.
/// - *Crosses*: a class with `save`/`load` or `serialize` crosses by value, and these are called by
///   the codec alone; they throw what troupe::encode and troupe::decode throw. No other class
///   crosses: options, handles of pools and of futures belong to their process.
/// - *When a worker dies*: nothing changes. The object belongs to the process it is in.
/// - *Throws*: nothing but std::bad_alloc, and what copying the caller's own objects throws.

// Every public header.
#include "troupe/array.hpp"               // IWYU pragma: export
#include "troupe/await.hpp"               // IWYU pragma: export
#include "troupe/barrier.hpp"             // IWYU pragma: export
#include "troupe/buffer.hpp"              // IWYU pragma: export
#include "troupe/callable.hpp"            // IWYU pragma: export
#include "troupe/child_spec.hpp"          // IWYU pragma: export
#include "troupe/child_status.hpp"        // IWYU pragma: export
#include "troupe/codec.hpp"               // IWYU pragma: export
#include "troupe/condition.hpp"           // IWYU pragma: export
#include "troupe/connection.hpp"          // IWYU pragma: export
#include "troupe/death.hpp"               // IWYU pragma: export
#include "troupe/error.hpp"               // IWYU pragma: export
#include "troupe/event.hpp"               // IWYU pragma: export
#include "troupe/executor.hpp"            // IWYU pragma: export
#include "troupe/future.hpp"              // IWYU pragma: export
#include "troupe/listener.hpp"            // IWYU pragma: export
#include "troupe/log.hpp"                 // IWYU pragma: export
#include "troupe/mutex.hpp"               // IWYU pragma: export
#include "troupe/objects.hpp"             // IWYU pragma: export
#include "troupe/policy.hpp"              // IWYU pragma: export
#include "troupe/pool.hpp"                // IWYU pragma: export
#include "troupe/pool_options.hpp"        // IWYU pragma: export
#include "troupe/process.hpp"             // IWYU pragma: export
#include "troupe/progress.hpp"            // IWYU pragma: export
#include "troupe/progress_bar.hpp"        // IWYU pragma: export
#include "troupe/queue.hpp"               // IWYU pragma: export
#include "troupe/restart_limits.hpp"      // IWYU pragma: export
#include "troupe/retry.hpp"               // IWYU pragma: export
#include "troupe/semaphore.hpp"           // IWYU pragma: export
#include "troupe/shared_memory.hpp"       // IWYU pragma: export
#include "troupe/spec_mistake.hpp"        // IWYU pragma: export
#include "troupe/start_method.hpp"        // IWYU pragma: export
#include "troupe/strategy.hpp"            // IWYU pragma: export
#include "troupe/submission.hpp"          // IWYU pragma: export
#include "troupe/supervised_pool.hpp"     // IWYU pragma: export
#include "troupe/supervisor.hpp"          // IWYU pragma: export
#include "troupe/supervisor_event.hpp"    // IWYU pragma: export
#include "troupe/supervisor_events.hpp"   // IWYU pragma: export
#include "troupe/supervisor_outcome.hpp"  // IWYU pragma: export
#include "troupe/supervisor_status.hpp"   // IWYU pragma: export
#include "troupe/system.hpp"              // IWYU pragma: export
#include "troupe/system_status.hpp"       // IWYU pragma: export
#include "troupe/task.hpp"                // IWYU pragma: export
#include "troupe/task_options.hpp"        // IWYU pragma: export
#include "troupe/this_process.hpp"        // IWYU pragma: export
#include "troupe/this_service.hpp"        // IWYU pragma: export
#include "troupe/this_task.hpp"           // IWYU pragma: export
#include "troupe/thread_pool.hpp"         // IWYU pragma: export
#include "troupe/value.hpp"               // IWYU pragma: export
#include "troupe/wait.hpp"                // IWYU pragma: export
#include "troupe/wait_readable.hpp"       // IWYU pragma: export
