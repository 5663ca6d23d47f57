// SPDX-License-Identifier: BSD-3-Clause
#include "options.hpp"

#include "troupe/this_process.hpp"

#include "format.hpp"

#include <charconv>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <random>
#include <string_view>
#include <system_error>

namespace census {

const char* const help_text =
    "usage: census [DIRECTORY] [--workers N] [--chaos] [--seed N] [--help]\n"
    "\n"
    "Counts every regular file below DIRECTORY (default: /usr/include, else the repository around\n"
    "the current directory) in worker processes, one task per file: bytes, lines, words, a hash "
    "of\n"
    "the content, identifiers. Then does the same in one process, and compares.\n"
    "\n"
    "  --workers N  worker processes, default: as many as there are usable CPUs\n"
    "  --chaos      kills a random worker with SIGKILL every 200 ms meanwhile, and repeats the\n"
    "               census until it ran for 3 s and survived 5 deaths\n"
    "  --seed N     of the random choice, default: random; is printed\n"
    "\n"
    "Exit code: 0 parallel and serial agree, 1 they do not, 2 wrong command line, 3 could not "
    "run.\n";

namespace {

template <class Number>
Number parse_number(std::string_view option, std::string_view text, Number least, Number most) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < least || number > most) {
    throw bad_usage{std::string{option} + " takes a number from " + std::to_string(least) + " to " +
                    std::to_string(most) + ", not '" + printable(text) + "'"};
  }
  return number;
}

std::string default_directory() {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::is_directory("/usr/include", error)) {
    return "/usr/include";
  }
  const fs::path here = fs::current_path(error);
  for (fs::path at = here; !at.empty(); at = at.parent_path()) {
    if (fs::exists(at / ".git", error)) {
      return at;
    }
    if (at == at.root_path()) {
      break;
    }
  }
  return ".";
}

void check_directory(const std::string& name) {
  std::error_code error;
  const auto status = std::filesystem::status(name, error);
  if (!std::filesystem::exists(status)) {
    throw bad_usage{"cannot look into '" + printable(name) + "': " + error.message()};
  }
  if (!std::filesystem::is_directory(status)) {
    throw bad_usage{"'" + printable(name) + "' is not a directory"};
  }
}

}  // namespace

options parse(std::span<char* const> arguments) {
  options made{.workers = troupe::usable_cpus(), .seed = std::random_device{}()};
  bool named = false;
  bool only_names = false;
  const auto value_of = [&](std::size_t& i) -> std::string_view {
    if (i + 1 == arguments.size()) {
      throw bad_usage{std::string{arguments[i]} + " needs a number after it"};
    }
    return arguments[++i];
  };
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (only_names || argument.substr(0, 1) != "-") {
      if (named) {
        throw bad_usage{"one directory at a time, not also '" + printable(argument) + "'"};
      }
      made.directory = argument;
      named = true;
    } else if (argument == "--") {
      only_names = true;
    } else if (argument == "--workers") {
      made.workers = parse_number(argument, value_of(i), 1, 4096);
    } else if (argument == "--seed") {
      made.seed = parse_number<std::uint64_t>(argument, value_of(i), 0,
                                              std::numeric_limits<std::uint64_t>::max());
    } else if (argument == "--chaos") {
      made.chaos = true;
    } else if (argument == "--help" || argument == "-h") {
      made.help = true;
      return made;
    } else {
      throw bad_usage{"unknown option '" + printable(argument) + "', see census --help"};
    }
  }
  if (!named) {
    made.directory = default_directory();
  }
  check_directory(made.directory);
  return made;
}

}  // namespace census
