// SPDX-License-Identifier: BSD-3-Clause
#include "trees/program_status.hpp"

#include "pools/engine.hpp"
#include "pools/root_child.hpp"
#include "trees/supervisor_core.hpp"

namespace troupe::detail {

supervisor_status program_tree_now() {
  const root_picture seen = look_at_root();
  supervisor_status root;
  root.name = "system";
  root.picture.version = seen.version;
  for (const listed_child& one : seen.children) {
    root.picture.children.push_back(one.status);
    if (const auto* core = dynamic_cast<const supervisor_core*>(one.child.get())) {
      root.below.push_back(core->status(one.status.name));
    }
  }
  return root;
}

system_status program_figures() {
  system_status made;
  for (const listed_child& one : look_at_root().children) {
    if (const auto* core = dynamic_cast<const supervisor_core*>(one.child.get())) {
      core->add_figures(made);
    } else {
      add_child(made, one.status);
      add_pool(made, dynamic_cast<engine*>(one.child.get()));
    }
  }
  return made;
}

}  // namespace troupe::detail
