// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "trees/children/child_engine.hpp"
#include "trees/supervisor_core.hpp"

#include <functional>
#include <memory>

namespace troupe::detail {

/// A run of a supervisor that is a child. It lives on the loop of the tree.
class supervisor_engine final : public child_engine {
 public:
  supervisor_engine(child_run how, std::shared_ptr<supervisor_core> core)
      : how_{std::move(how)}, core_{std::move(core)} {}

  void start() override;
  void ask_to_stop() override { node_->feed(stop_requested{}); }
  void kill() override { node_->feed(kill_requested{}); }

 private:
  const child_run how_;
  const std::shared_ptr<supervisor_core> core_;
  std::shared_ptr<supervisor_node> node_;
};

}  // namespace troupe::detail
