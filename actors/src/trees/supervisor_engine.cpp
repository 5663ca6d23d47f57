// SPDX-License-Identifier: BSD-3-Clause
#include "trees/supervisor_engine.hpp"

#include <memory>
#include <utility>

namespace troupe::detail {

void supervisor_engine::start() {
  node_ = core_->make_node(
      how_.loop, how_.path,
      {[ready = how_.events.ready] { ready(); },
       // The core keeps the node of its last run.
       [ended = how_.events.ended,
        core = std::weak_ptr<supervisor_core>{core_}](const supervisor_outcome& outcome) {
         if (const auto here = core.lock()) {
           here->child_ended(outcome);
         }
         ended({outcome.ok() ? end_cause::finished : end_cause::gave_up, outcome.text});
       },
       how_.events.happened},
      how_.in_process);
  node_->tell(start_requested{});
}

}  // namespace troupe::detail
