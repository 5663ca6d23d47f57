// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"

#include "base/thread_safety.hpp"

#include <thread>
#include <vector>

namespace troupe::detail {

/// The threads that are giving tasks their outcomes and are not workers: the timekeeper, a thread
/// that cancels, a thread that terminates the pool. A thread that joins the pool waits until there
/// are none.
///
/// @threads any, all members.
class concluding_threads {
 public:
  /// The calling thread is one of them while this object lives.
  class note {
   public:
    explicit note(concluding_threads& all) : all_{all} { all.add(); }
    ~note() { all_.remove(); }
    note(const note&) = delete;
    note& operator=(const note&) = delete;

   private:
    concluding_threads& all_;
  };

  /// Blocks until there are none but the calling thread. False: the deadline passed first.
  bool wait_for_others(const deadline& until);

 private:
  void add();
  void remove();

  guarded_mutex mutex_;
  guarded_condition fewer_;
  std::vector<std::thread::id> threads_ TROUPE_GUARDED_BY(mutex_);  // one for each note
};

}  // namespace troupe::detail
