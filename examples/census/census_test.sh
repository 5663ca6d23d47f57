#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# census_test.sh CENSUS
#
# Runs the program on a small tree full of odd files, with and without chaos, and compares what it says with
# find and wc; then gives it wrong command lines.
set -euo pipefail
export LC_ALL=C

census=$1
scratch=$(mktemp -d)
trap 'chmod -R u+rwX "$scratch"; rm -rf "$scratch"' EXIT
tree=$scratch/tree

fail() {
  printf 'census_test: %s\n' "$1"
  [[ -f $scratch/out ]] && cat "$scratch/out" "$scratch/err"
  exit 1
}

# Runs census with the arguments after the expected exit code; its output is in $scratch/{out,err} then.
run() {
  local expected=$1 status=0
  shift
  "$census" "$@" </dev/null >"$scratch/out" 2>"$scratch/err" || status=$?
  ((status == expected)) || fail "exit code $status instead of $expected from: census $*"
}
# The line is in the output, whatever the number of spaces.
says() {
  tr -s ' ' <"$scratch/out" | sed 's/^ //' | grep -qxF -- "$1" || fail "the output has no line: $1"
}
does_not_say() {
  ! grep -qF -- "$1" "$scratch/out" || fail "the output says: $1"
}

mkdir -p "$tree/plain" "$tree/deep/a/b/c/d" "$tree/empty"
for i in {1..200}; do
  printf 'int file_%d(int x) { return x * %d; }\nint twice;\n' "$i" "$i" >"$tree/plain/$i.c"
done
printf 'no newline at the end: 1x x1 _y' >"$tree/deep/a/b/c/d/unfinished.txt"
printf 'hidden_name before\0and after' >"$tree/binary"
: >"$tree/nothing"
printf 'x\n' >"$tree/name with"$'\n'"a newline"
printf 'x\n' >"$tree/"$'\x1b[31m'"red"
# Longer than the blocks it is read in, with a run of letters that is no identifier.
{
  head -c 300000 /dev/zero | tr '\0' 'q'
  for i in {1..20000}; do printf ' across_blocks'; done
} >"$tree/long"
ln -s . "$tree/loop"
ln -s ../.. "$tree/deep/a/up"
ln -s other "$tree/one"
ln -s one "$tree/other"
ln -s /nowhere/at/all "$tree/dangling"
ln -s nothing "$tree/link"
mkfifo "$tree/fifo"
printf 'secret\n' >"$tree/locked"
mkdir "$tree/locked_directory"
printf 'secret\n' >"$tree/locked_directory/inside"
chmod 0 "$tree/locked" "$tree/locked_directory"

check_totals() {
  local locked_files=1 locked_directories=1 count
  # The superuser can open everything.
  if [[ -r $tree/locked ]]; then
    locked_files=0 locked_directories=0
  fi
  find "$tree" -type f -readable -print0 2>/dev/null | xargs -0 cat >"$scratch/all"
  count=$(find "$tree" -type f -readable -printf x 2>/dev/null | wc -c)
  says "files $count"
  says "of them binary 1"
  says "directories $(($(find "$tree" -type d 2>/dev/null | wc -l) - locked_directories))"
  says "bytes $(wc -c <"$scratch/all" | sed ':a; s/\([0-9]\)\([0-9]\{3\}\)\($\| \)/\1 \2\3/; ta')"
  says "lines $(wc -l <"$scratch/all")"
  says "across_blocks 20 000"
  says "int 600"
  says "symbolic link loop, not followed 4"
  says "symbolic link to nowhere 1"
  says "symbolic link, not followed 1"
  says "fifo, socket or device, skipped 1"
  if ((locked_files)); then
    says "file that cannot be opened 1"
    says "directory that cannot be opened 1"
  fi
  does_not_say hidden_name
  does_not_say qqqq
  does_not_say "DISAGREE"
  says "parallel and serial agree"
}

run 0 "$tree" --workers 3
check_totals
hash=$(grep 'hash' "$scratch/out")

run 0 "$tree" --workers 3 --chaos --seed 7
check_totals
grep -qF 'seed 7' "$scratch/err" || fail "chaos does not say its seed"
[[ $(grep 'hash' "$scratch/out") == "$hash" ]] || fail "chaos changed the hash"
deaths=$(sed -n 's/.* and \([0-9]*\) deaths survived.*/\1/p' "$scratch/out")
((deaths >= 5)) || fail "chaos without deaths"

# A name that is printed gives the terminal no orders and stays on its line.
rm "$tree/loop" && ln -s . "$tree/"$'\x1b[31m\n'"loop"
run 0 "$tree" --workers 1
says "$tree/\\x1b[31m\\nloop"

mkdir "$scratch/void"
run 0 "$scratch/void"
says "files 0"
says "directories 1"
says "parallel and serial agree"

run 0 --help
grep -q '^usage: census' "$scratch/out" || fail "no usage"
for wrong in --no-such-option "--workers" "--workers 0" "--workers 5000" "--workers two" "--workers 3x" \
  "$scratch/absent" "$tree/nothing" "$tree $tree" "--seed -1"; do
  # shellcheck disable=SC2086
  run 2 $wrong
  [[ ! -s $scratch/out ]] || fail "output on stdout for: $wrong"
  [[ $(wc -l <"$scratch/err") == 1 ]] || fail "not one line on stderr for: $wrong"
done
echo "census_test: all is well"
