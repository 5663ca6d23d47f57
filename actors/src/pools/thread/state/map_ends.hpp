// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"

#include "futures/event_state.hpp"
#include "pools/thread/state/worker_table.hpp"

#include <cstddef>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::detail {

/// Wakes threads that wait until nothing of a map runs: neither an item nor, between two attempts,
/// the user's predicate. A member of the crew, guarded by its lock.
class map_ends {
 public:
  /// The calling thread begins to run the predicate of this submission, or has ended that.
  void begin_asking(const thread_submission& of);
  void end_asking(const thread_submission& of, const worker_table& workers);
  /// An item of the submission has stopped running: fulfils the futures that waited for it.
  void look(const thread_submission& ended, const worker_table& workers);
  /// A future of the end of the map; null: no item runs but those on the calling thread's stack.
  /// `own`: the calling thread's seat, if it is a worker.
  std::shared_ptr<event_state> watch(const thread_group& map, const worker_seat* own,
                                     const worker_table& workers);

 private:
  struct watched {
    const thread_group* map = nullptr;
    std::size_t below = 0;  ///< items on the stack of the thread that waits
    std::shared_ptr<event_state> end;
  };
  [[nodiscard]] std::size_t running_of(const thread_group& map, const worker_table& workers) const;
  [[nodiscard]] std::size_t below_caller(const thread_group& map, const worker_seat* own) const;

  /// Submissions whose predicate runs, and on which thread.
  std::vector<std::pair<const thread_submission*, std::thread::id>> asking_;
  std::vector<watched> watched_;
};

}  // namespace troupe::detail
