// SPDX-License-Identifier: BSD-3-Clause
#include "trees/supervisor_engine.hpp"

#include <utility>

namespace troupe::detail {

void supervisor_engine::start() {
  node_ = core_->make_node(
      how_.loop, how_.path,
      {[ready = how_.events.ready] { ready(); },
       [ended = how_.events.ended, core = core_](const supervisor_outcome& outcome) {
         core->child_ended(outcome);
         ended({outcome.ok() ? end_cause::finished : end_cause::gave_up, outcome.text});
       },
       how_.events.happened});
  node_->tell(start_requested{});
}

}  // namespace troupe::detail
