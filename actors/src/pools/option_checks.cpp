// SPDX-License-Identifier: BSD-3-Clause
#include "pools/option_checks.hpp"

namespace troupe::detail {
namespace {

[[noreturn]] void refuse(std::string_view who, std::string_view member, const std::string& text) {
  throw std::invalid_argument{std::string{who} + ": " + std::string{member} + text};
}

}  // namespace

void check_between(std::string_view who, std::string_view member, int value, int most,
                   std::string_view cure) {
  if (value < 1 || value > most) {
    refuse(who, member,
           " = " + std::to_string(value) + " is not between 1 and " + std::to_string(most) +
               std::string{cure});
  }
}

void check_not_negative(std::string_view who, std::string_view member,
                        std::chrono::milliseconds value) {
  if (value.count() < 0) {
    refuse(who, member, " = " + std::to_string(value.count()) + " ms is negative");
  }
}

void check_positive(std::string_view who, std::string_view member,
                    std::optional<std::chrono::milliseconds> value) {
  if (value && value->count() <= 0) {
    refuse(
        who, member,
        " = " + std::to_string(value->count()) + " ms is not positive (leave it out for no limit)");
  }
}

void refuse_timeout(const map_options& how) {
  if (how.timeout) {
    refuse("troupe: map options", ".timeout",
           " is not for map_async: wait for its future by wait_for, or limit the tasks by "
           ".with({.deadline = ...})");
  }
}

options_ptr share_options(const task_options& how) {
  constexpr std::string_view who = "troupe: task options";
  constexpr std::size_t most_label_bytes = 200;
  if (how.retries < 0) {
    refuse(who, ".retries", " = " + std::to_string(how.retries) + " is negative");
  }
  check_positive(who, ".timeout", how.timeout);
  if (how.grace) {
    check_not_negative(who, ".grace", *how.grace);
  }
  check_positive(who, ".deadline", how.deadline);
  check_not_negative(who, ".backoff", how.backoff);
  if (how.label.size() > most_label_bytes) {
    refuse(who, ".label",
           " has " + std::to_string(how.label.size()) + " bytes, the limit is " +
               std::to_string(most_label_bytes));
  }
  for (std::size_t i = 0; i < how.label.size(); ++i) {
    const auto c = static_cast<unsigned char>(how.label[i]);
    if (c < ' ' || c == 0x7F) {
      refuse(who, ".label",
             " has a control character (" + std::to_string(c) + ") at byte " + std::to_string(i) +
                 ": it is printed in error texts");
    }
  }
  return std::make_shared<const task_options>(how);
}

}  // namespace troupe::detail
