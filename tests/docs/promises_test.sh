#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# promises_test.sh TOOL SENTENCE: tells whether tools/promises does as the sentence says, with tables and tests of its own.

set -euo pipefail
tool=$1
sentence=$2

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/build" "$scratch/docs"
cat >"$scratch/build/CTestTestfile.cmake" <<'END'
add_test(one_test/One.Passes true)
add_test(one_test/One.PassesToo true)
add_test(one_test/One.Fails false)
add_test(one_test/By/Each.Sentence/fork true)
add_test(one_test/By/Each.Sentence/spawn true)
add_test([=[one_test/Typed.Sentence<int[3](*)(char)>]=] true)
add_test(one_test/One.IsSkipped sh -c "echo not here")
set_tests_properties(one_test/One.IsSkipped PROPERTIES SKIP_REGULAR_EXPRESSION "not here")
END

# tables SUBJECT < ROWS: writes them as the table of that subject.
tables() {
  { printf '# %s\n\n| promise | tests |\n| --- | --- |\n' "$1" && cat; } >"$scratch/docs/$1.md"
}

# promises ARGUMENT...: runs the tool; its output is then in `output`, its exit status in `status`.
promises() {
  status=0
  output=$("$tool" --build "$scratch/build" --docs "$scratch/docs" "$@" 2>&1) || status=$?
}

expect() { # STATUS TEXT...: of the last run
  local text expected=$1
  shift
  if [[ $expected != "$status" ]]; then
    printf 'expected the exit status %s, not %s, of:\n%s\n' "$expected" "$status" "$output"
    exit 1
  fi
  for text in "$@"; do
    if [[ $output != *"$text"* ]]; then
      printf 'expected "%s" in:\n%s\n' "$text" "$output"
      exit 1
    fi
  done
}

case $sentence in
  RunsExactlyTheTestsOfItsPromises)
    tables held <<'END'
| It passes. | `one_test/One.Passes`, `one_test/By/Each.Sentence/*` |
| It is \| of any type. | `one_test/Typed.Sentence<int[3](*)(char)>` |
END
    tables other <<'END'
| It fails. | `one_test/One.Fails` |
END
    promises held
    expect 0 '2 passed, 0 failed' '(2 tests)' 'It is | of any type.' 'running the 4 tests of held'
    promises
    expect 1 '2 passed, 1 failed' 'failed   one_test/One.Fails'
    promises --check
    expect 0 '3 promises in 2 subjects, 0 problems'
    promises nothing
    expect 2 'there is no subject nothing'
    ;;
  APromiseWithoutATestFails)
    tables held <<'END'
| It passes. | `one_test/One.Passes` |
| Only words. | |
END
    promises --check
    expect 1 'held.md:6: a promise without a test: Only words.'
    promises
    expect 1 '1 passed, 1 failed'
    ;;
  ATestThatDoesNotExistFails)
    tables held <<'END'
| It passes. | `one_test/One.Passes` |
| It did once. | `one_test/One.Passes`, `one_test/One.Passed` |
| None of these. | `one_test/None.*` |
END
    tables other <<'END'
| It passes too. | `one_test/One.PassesToo` |
END
    promises --check
    expect 1 'held.md:6: there is no test one_test/One.Passed' 'held.md:7: there is no test one_test/None.*'
    promises held
    expect 1 '1 passed, 2 failed' 'missing  one_test/One.Passed'
    promises other # all subjects are checked
    expect 1 '1 passed, 0 failed' 'held.md:6:'
    ;;
  APromiseWhoseTestsAreSkippedIsNotHeld)
    tables held <<'END'
| It may be skipped in part. | `one_test/One.Passes`, `one_test/One.IsSkipped` |
END
    promises
    expect 0 '1 passed, 0 failed'
    tables held <<'END'
| It is skipped. | `one_test/One.IsSkipped` |
END
    promises
    expect 1 '0 passed, 0 failed, 1 skipped'
    ;;
  ATableOfAnotherFormFails)
    printf '# held\n\nNo table.\n' >"$scratch/docs/held.md"
    promises --check
    expect 1 'held.md: there are no promises in it'
    tables held <<'END'
| It has no backticks. | one_test/One.Passes |
| It has three | cells | `one_test/One.Passes` |
| It is not closed. | `one_test/One.Passes`
END
    promises --check
    expect 1 'held.md:5: the tests are names in backticks' 'held.md:5: a promise without a test' 'held.md:6: a row is' \
      'held.md:7: a row is'
    ;;
  *)
    printf 'there is no such sentence: %s\n' "$sentence"
    exit 1
    ;;
esac
