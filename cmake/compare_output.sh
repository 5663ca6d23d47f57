#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# compare_output.sh exact|sorted|regex EXPECTED PROGRAM [ARGUMENT...]
#
# Runs the program; it must exit with 0 and print what the file EXPECTED says: byte by byte (exact), the
# same lines in any order (sorted), or line by line, each expected line being an extended regular
# expression for the whole line (regex). Tests of the examples; see troupe_add_example.
set -euo pipefail
export LC_ALL=C

mode=$1 expected=$2
shift 2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
actual=$scratch/actual

status=0
"$@" </dev/null >"$actual" || status=$?

fail() {
  printf '%s\n--- standard output of %s:\n' "$1" "${*:2}"
  cat "$actual"
  exit 1
}

((status == 0)) || fail "exit status $status instead of 0" "$@"
[[ -f $expected ]] || fail "there is no expected output: $expected" "$@"

case $mode in
  exact)
    diff -u --label expected --label actual "$expected" "$actual" || fail "output differs" "$@"
    ;;
  sorted)
    sort "$expected" >"$scratch/expected.sorted"
    sort "$actual" >"$scratch/actual.sorted"
    diff -u --label expected --label actual "$scratch/expected.sorted" "$scratch/actual.sorted" ||
      fail "output differs, also when sorted" "$@"
    ;;
  regex)
    mapfile -t patterns <"$expected"
    mapfile -t lines <"$actual"
    ((${#patterns[@]} == ${#lines[@]})) ||
      fail "${#lines[@]} lines instead of ${#patterns[@]}" "$@"
    for i in "${!patterns[@]}"; do
      pattern="^(${patterns[i]})\$"
      [[ ${lines[i]} =~ $pattern ]] || fail "line $((i + 1)) is not ${patterns[i]}" "$@"
    done
    ;;
  *)
    echo "unknown mode $mode" >&2
    exit 2
    ;;
esac
