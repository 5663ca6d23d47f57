// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <iterator>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>

namespace troupe::detail {

/// How many affinity keys a pool remembers.
inline constexpr std::size_t max_affinity_keys = 16'384;

/// Remembers to which worker each affinity key is bound, for the keys used last: a program may have
/// a new key for every task. Says how many keys a worker has, so that they can be spread.
///
/// @threads one at a time; the caller guards it.
template <class Worker>
class affinity_keys {
 public:
  explicit affinity_keys(std::size_t most = max_affinity_keys) : most_{most} {}

  /// The key's worker; null: it is not bound. Notes that the key was used.
  const Worker* find(std::string_view key) {
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) {
      return nullptr;
    }
    used_.splice(used_.begin(), used_, found->second);
    return &found->second->worker;
  }
  /// Binds the key, unless it is bound. One too many, and the key used longest ago is forgotten.
  void bind(std::string_view key, const Worker& worker) {
    if (find(key) != nullptr) {
      return;
    }
    if (used_.size() >= most_) {
      forget(std::prev(used_.end()));
    }
    used_.push_front({std::string{key}, worker});
    by_key_.emplace(used_.front().key, used_.begin());
    ++count_[worker];
  }
  /// Frees all keys of the worker.
  void unbind(const Worker& worker) {
    if (count(worker) == 0) {
      return;
    }
    for (auto it = used_.begin(); it != used_.end();) {
      const auto one = it++;
      if (one->worker == worker) {
        forget(one);
      }
    }
  }
  /// How many keys the worker has.
  [[nodiscard]] std::size_t count(const Worker& worker) const {
    const auto found = count_.find(worker);
    return found == count_.end() ? 0 : found->second;
  }
  [[nodiscard]] std::size_t size() const noexcept { return used_.size(); }

 private:
  struct binding {
    std::string key;
    Worker worker;
  };
  using bindings = std::list<binding>;

  void forget(typename bindings::iterator which) {
    const auto counted = count_.find(which->worker);
    if (--counted->second == 0) {
      count_.erase(counted);
    }
    by_key_.erase(which->key);
    used_.erase(which);
  }

  std::size_t most_;
  bindings used_;  // the one used last first
  std::unordered_map<std::string_view, typename bindings::iterator> by_key_;
  std::map<Worker, std::size_t> count_;
};

}  // namespace troupe::detail
