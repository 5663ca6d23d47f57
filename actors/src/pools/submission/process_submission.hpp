// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/future_state.hpp"
#include "troupe/pool_options.hpp"

#include "channel/channel.hpp"
#include "channel/segment.hpp"
#include "pools/counter.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace troupe::detail {

class process_submission;
class pool_face;
class submission_builder;

/// The submissions of one map. A failure of one can cut off the others.
class submission_group {
 public:
  virtual ~submission_group();
  /// Called on the supervisor's turn, once for each submission, when all its items have outcomes.
  virtual void submission_done(process_submission& finished) = 0;

  /// Set when something was cut off: no further submission of the map is to be made.
  std::atomic<bool> cancelled{false};
  counter succeeded_items;
  counter failed_items;
  counter cancelled_items;
  counter retried_items;
  /// A failure cuts off what comes after it in input order. What comes before goes on, so that the
  /// first failure in that order is always found, whichever worker is faster.
  bool all_or_nothing = true;

  // On the supervisor's turn.
  /// True: the item lies behind the cut.
  [[nodiscard]] bool cuts(const process_submission& work, std::uint32_t item) const;
  /// Cuts off everything behind this item in input order, unless there is an earlier cut.
  void cut_after(std::uint64_t submission_number, std::uint32_t item);

 private:
  std::uint64_t cut_submission_ = UINT64_MAX;
  std::uint32_t cut_item_ = 0;
};

/// One submission: a callable and one or more items (a call has one), and their outcomes.
///
/// It is the state behind a future. Written on the supervisor's turn until `future_state::finish`,
/// and not at all after it; from then on any thread may read it.
class process_submission final : public future_state {
 public:
  process_submission(std::shared_ptr<pool_face> owner, const options_ptr& options,
                     submission_builder&& encoded);
  ~process_submission() override;

  void each_value(const std::function<void(std::span<const std::byte>)>& visit) const override;
  bool cancel(bool force) override;
  [[nodiscard]] bool running() const override;
  [[nodiscard]] executor callbacks() const override;
  [[nodiscard]] bool spin_for_outcome() const override;

  /// The outcomes by item; only when the submission is done.
  [[nodiscard]] std::span<const std::byte> value(std::uint32_t item) const;
  [[nodiscard]] const failure* item_failure(std::uint32_t item) const;

  // Set by the submitter.
  std::unique_ptr<const std::byte[]> bytes;  ///< callable and item parts: worker_protocol.hpp
  std::uint32_t byte_count = 0;
  std::uint32_t callable_bytes = 0;  ///< length of the callable part
  std::uint32_t count = 0;
  std::uint32_t max_range = 0;  ///< items per message; 0: as the window allows
  std::shared_ptr<submission_group> group;
  [[nodiscard]] const task_options& options() const noexcept { return *options_; }
  /// Its name in texts: "task #5 'label' of pool 'name'".
  [[nodiscard]] std::string name() const;

  /// True for the first caller, which decides the outcomes: the supervisor, or the submitting
  /// thread if the pool has ended.
  [[nodiscard]] bool take() noexcept { return !taken_.exchange(true); }

  // On the supervisor's turn.
  std::uint64_t number = 0;
  std::uint32_t depth = 0;         ///< how deep it is nested; 0: no task of the pool submitted it
  std::uint32_t with_workers = 0;  ///< items sent to workers and without an outcome
  [[nodiscard]] bool decided(std::uint32_t item) const { return outcomes()[item].kind != pending; }
  void store_value(std::uint32_t item, std::span<const std::byte> value);
  void store_payload(std::uint32_t item, std::shared_ptr<const foreign_payload> value);
  void store_failure(std::uint32_t item, std::shared_ptr<const failure> why);
  /// Cancels all items without an outcome, none of which has begun, and fulfils the future.
  void end_cancelled();
  /// Fulfils the future once every item has an outcome; true if this call did.
  bool finish_if_complete();
  /// Where item `index` begins in `bytes`.
  [[nodiscard]] std::uint32_t offset_of(std::uint32_t index);
  /// Notes how an attempt ended that is followed by another; the item's failure lists them.
  void note_lost_attempt(std::uint32_t item, attempt_end how);
  /// The segments and attachments that its parts refer to.
  [[nodiscard]] const std::vector<std::shared_ptr<segment>>& segments() const;
  [[nodiscard]] const attachment_list& attachments() const;
  void set_attachments(attachment_list what);
  /// The attachments that its results refer to; kept as long as the submission.
  [[nodiscard]] const attachment_list& result_attachments() const;
  void add_result_attachments(attachment_list what);

  bool overdue = false;  ///< its deadline has passed
  std::uint64_t run_nanoseconds = 0;
  std::uint64_t run_items = 0;

 private:
  [[nodiscard]] std::shared_ptr<const failure> describe() const override;

  enum outcome_kind : std::uint8_t { pending, in_bytes, in_payload, failed_item, cancelled_item };
  struct outcome {
    outcome_kind kind = pending;
    std::uint32_t size = 0;
    std::uint64_t where = 0;  // offset into results_, or index into payloads_ or failures_
  };
  [[nodiscard]] outcome* outcomes() { return many_ ? many_.get() : &single_; }
  [[nodiscard]] const outcome* outcomes() const { return many_ ? many_.get() : &single_; }

  std::shared_ptr<pool_face> owner_;
  std::atomic<bool> taken_{false};
  const task_options* options_;  ///< the pool's own, or what `kept_options_` has: counting the
                                 ///< users of the former would be contended by all threads
  options_ptr kept_options_;
  std::uint32_t decided_ = 0;
  outcome single_;
  std::unique_ptr<outcome[]> many_;
  std::string results_;
  /// What most submissions never need, apart so that a small one stays small: a million may wait.
  struct rarities {
    std::vector<std::shared_ptr<segment>> segments;
    attachment_list attachments;
    attachment_list result_attachments;
    std::vector<std::shared_ptr<const foreign_payload>> payloads;
    std::vector<std::shared_ptr<const failure>> failures;
    std::vector<std::pair<std::uint32_t, attempt_end>> lost_attempts;  // in the order of time
    std::vector<std::uint32_t> offsets;  // of items; made when a range needs one
  };
  rarities& rare() {
    if (!rare_) {
      rare_ = std::make_unique<rarities>();
    }
    return *rare_;
  }
  std::unique_ptr<rarities> rare_;
};

}  // namespace troupe::detail
