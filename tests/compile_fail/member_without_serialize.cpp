// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: this type cannot cross to another process: give it `template <class Archive>
// NAMES: must_be_serializable<part>
#include "troupe/callable.hpp"

template <class F, class... Args>
void submit(F&& f, Args&&... args) {
  troupe::detail::byte_buffer sink;
  troupe::detail::encode_task_callable<F, Args...>(sink, f);
  troupe::detail::encode_task_arguments<F, Args...>(sink, args...);
}

struct part {
  int x = 0;
};
struct job {
  part p;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(p);
  }
};
int run(job) {
  return 0;
}

void test() {
  submit(run, job{});
}
