// SPDX-License-Identifier: BSD-3-Clause
#include "tally.hpp"

#include "troupe/this_task.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <string_view>
#include <unordered_map>

namespace census {
namespace {

struct text_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const noexcept {
    return std::hash<std::string_view>{}(text);
  }
};

constexpr std::uint8_t is_space = 1;
constexpr std::uint8_t is_identifier = 2;

constexpr std::array<std::uint8_t, 256> make_classes() {
  std::array<std::uint8_t, 256> classes{};
  for (const char c : std::string_view{" \t\n\v\f\r"}) {
    classes[static_cast<unsigned char>(c)] = is_space;
  }
  for (unsigned c = 0; c < 128; ++c) {
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_') {
      classes[c] = is_identifier;
    }
  }
  return classes;
}
constexpr std::array<std::uint8_t, 256> classes = make_classes();

/// Reads a text block by block; words and identifiers may cross from one block to the next.
class scanner {
 public:
  void feed(std::string_view block) {
    if (!binary_ && block.find('\0') != std::string_view::npos) {
      binary_ = true;
      counts_.clear();
    }
    bytes_ += block.size();
    const char* run = carried_.empty() ? nullptr : block.data();
    for (const char& at : block) {
      const auto byte = static_cast<unsigned char>(at);
      const std::uint8_t kind = classes[byte];
      hash_ = (hash_ ^ byte) * 0x100000001b3;
      lines_ += at == '\n' ? 1 : 0;
      words_ += !in_word_ && kind != is_space ? 1 : 0;
      in_word_ = kind != is_space;
      if (kind == is_identifier) {
        run = run != nullptr ? run : &at;
      } else if (run != nullptr) {
        end_run({run, static_cast<std::size_t>(&at - run)});
        run = nullptr;
      }
    }
    if (run != nullptr) {
      carry({run, static_cast<std::size_t>(block.data() + block.size() - run)});
    }
  }

  void finish(file_tally& tally) {
    end_run({});
    tally.binary = binary_;
    tally.bytes = bytes_;
    tally.lines = lines_;
    tally.words = words_;
    tally.hash = hash_;
    tally.identifier_counts.reserve(counts_.size());
    for (const auto& [name, count] : counts_) {
      tally.identifiers.append(name).push_back('\n');
      tally.identifier_counts.push_back(count);
    }
  }

 private:
  static constexpr std::size_t longest = 255;

  void carry(std::string_view part) {
    // One byte too many is kept: that tells a run that is too long.
    carried_.append(part.substr(0, longest + 1 - std::min(longest + 1, carried_.size())));
  }
  void end_run(std::string_view run) {
    if (!carried_.empty()) {
      carry(run);
      count(carried_);
      carried_.clear();
    } else {
      count(run);
    }
  }
  void count(std::string_view run) {
    if (binary_ || run.empty() || run.size() > longest || (run[0] >= '0' && run[0] <= '9')) {
      return;
    }
    const auto known = counts_.find(run);
    if (known != counts_.end()) {
      ++known->second;
    } else {
      counts_.emplace(run, 1);
    }
  }

  bool binary_ = false;
  bool in_word_ = false;
  std::uint64_t bytes_ = 0, lines_ = 0, words_ = 0;
  std::uint64_t hash_ = 0xcbf29ce484222325;
  std::string carried_;  // the run at the end of the last block
  std::unordered_map<std::string, std::uint32_t, text_hash, std::equal_to<>> counts_;
};

class open_file {
 public:
  // Neither a link nor a fifo that took the file's place may lead us elsewhere or block us.
  explicit open_file(const std::string& path)
      : descriptor_{
            ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)} {}
  ~open_file() {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
    }
  }
  open_file(const open_file&) = delete;
  open_file& operator=(const open_file&) = delete;
  [[nodiscard]] int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

problem_kind scan(const std::string& path, scanner& into) {
  const open_file file{path};
  if (file.descriptor() < 0) {
    return kind_of_errno(errno, problem_kind::unreadable_file);
  }
  struct stat status{};
  if (::fstat(file.descriptor(), &status) != 0) {
    return problem_kind::unreadable_file;
  }
  if (!S_ISREG(status.st_mode)) {
    return problem_kind::replaced;
  }
  std::array<char, 64 * 1024> block;  // NOLINT(*-member-init): filled by read
  auto left = static_cast<std::uint64_t>(status.st_size);
  while (left > 0) {
    const ssize_t got =
        ::read(file.descriptor(), block.data(), std::min<std::uint64_t>(left, block.size()));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return problem_kind::read_failed;
    }
    if (got == 0) {
      break;
    }
    into.feed({block.data(), static_cast<std::size_t>(got)});
    left -= static_cast<std::uint64_t>(got);
  }
  return problem_kind::none;
}

}  // namespace

file_tally count_file(const std::string& path) {
  file_tally tally;
  tally.path = path;
  tally.attempt = troupe::this_task::attempt();
  scanner scanned;
  tally.problem = scan(path, scanned);
  if (tally.problem == problem_kind::none) {
    scanned.finish(tally);
  }
  return tally;
}

}  // namespace census
