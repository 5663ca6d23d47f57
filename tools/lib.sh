# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the tools beside it; sets `root`, the top of the repository. They print what they do on standard
# error, so that standard output is the program's.
# shellcheck shell=bash

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)
tool=$(readlink -f "$0")
tool=${tool#"$root"/}

say() { printf '%s: %s\n' "$tool" "$*" >&2; }

# The comment at the top of the calling tool is its help.
print_help() { sed -n '3,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

# logged LOG COMMAND...: the command's output goes to the log, of which the end is shown if it fails. Meanwhile
# the counter of the build is shown: live on a terminal, else a line every 15 seconds.
logged() {
  local log=$1 status=0 next=$((SECONDS + 15)) line
  shift
  printf '$ %s\n' "$*" >>"$log"
  "$@" 2>&1 </dev/null | while IFS= read -r line; do
    printf '%s\n' "$line" >>"$log"
    [[ $line =~ ^\[[0-9]+/[0-9]+\] ]] || continue
    if [[ -t 2 ]]; then
      printf '\r%s: %s ' "$tool" "${BASH_REMATCH[0]}" >&2
    elif ((SECONDS >= next)); then
      next=$((SECONDS + 15))
      say "${BASH_REMATCH[0]}"
    fi
  done || status=$?
  [[ -t 2 ]] && printf '\r\033[K' >&2
  if ((status != 0)); then
    say "failed: $*"
    tail -n 40 "$log" >&2
    say "the whole output is in $log"
  fi
  return "$status"
}

# build_preset PRESET [TARGET...]: configures (with configure_arguments) and builds in build/PRESET.
configure_arguments=()
build_preset() {
  local preset=$1 log fresh=()
  shift
  mkdir -p "$root/build"
  log=$root/build/$preset.log
  : >"$log"
  local cache=$root/build/$preset/CMakeCache.txt
  if [[ -f $cache ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$cache"; then
    say "this folder was moved or copied here: configuring anew"
    fresh=(--fresh)
  fi
  cd "$root"
  say "configuring ${root##*/}/build/$preset"
  logged "$log" cmake --preset "$preset" "${fresh[@]}" "${configure_arguments[@]}" || return
  say "building ${*:-everything} (log: $log)"
  logged "$log" cmake --build --preset "$preset" --parallel "$(nproc)" ${*:+--target "$@"} || return
  cd "$OLDPWD"
}
