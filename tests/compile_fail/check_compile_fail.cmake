# SPDX-License-Identifier: BSD-3-Clause
# cmake -DCOMPILER=... -DSOURCE=... -DFLAGS=a;b -P check_compile_fail.cmake
#
# Compiles SOURCE, which must fail. Its own comments say how:
#   // ERROR: <regex>   must match the first line with "error:"
#   // FLAGS: <flags>   are given to the compiler, too
#   // NAMES: <regex>   must match something the compiler prints up to and including that line (what the
#                       templates were instantiated with), or the line of the error itself
# There is no other error but those of cereal, which complains of a member after us.
file(STRINGS "${SOURCE}" wanted_error REGEX "^// ERROR: ")
file(STRINGS "${SOURCE}" wanted_names REGEX "^// NAMES: ")
file(STRINGS "${SOURCE}" own_flags REGEX "^// FLAGS: ")
string(REGEX REPLACE "^// FLAGS: " "" own_flags "${own_flags}")
separate_arguments(own_flags)
string(REGEX REPLACE "^// ERROR: " "" wanted_error "${wanted_error}")
if(wanted_error STREQUAL "")
  message(FATAL_ERROR "${SOURCE} does not say which error it expects")
endif()

execute_process(
  COMMAND ${COMPILER} ${FLAGS} -std=c++20 ${own_flags} -fsyntax-only -fdiagnostics-color=never ${SOURCE}
  RESULT_VARIABLE result
  OUTPUT_VARIABLE output
  ERROR_VARIABLE output)
if(result EQUAL 0)
  message(FATAL_ERROR "${SOURCE} compiles, and must not")
endif()

# Lists of CMake split at semicolons and brackets, of which messages are full.
string(REPLACE ";" "," output "${output}")
string(REPLACE "[" "(" output "${output}")
string(REPLACE "]" ")" output "${output}")
string(FIND "${output}" "error:" at)
string(SUBSTRING "${output}" ${at} -1 rest)
string(REGEX MATCH "^[^\n]*" first_error "${rest}")
string(LENGTH "${first_error}" length)
math(EXPR end "${at} + ${length}")
string(SUBSTRING "${output}" 0 ${end} beginning)
# Clang prints what was instantiated after the error.
string(REGEX MATCH "in instantiation of [^\n]*" clang_names "${rest}")

if(NOT first_error MATCHES "${wanted_error}")
  message(FATAL_ERROR "the first error is\n  ${first_error}\nand not\n  ${wanted_error}\n\n${output}")
endif()
string(REGEX REPLACE "[^\n]*/cereal/[^\n]*error:[^\n]*" "" own_output "${output}")
string(REGEX MATCHALL "error:" errors "${own_output}")
list(LENGTH errors count)
if(count GREATER 1)
  message(FATAL_ERROR "${count} errors instead of one:\n${output}")
endif()
foreach(name IN LISTS wanted_names)
  string(REGEX REPLACE "^// NAMES: " "" name "${name}")
  if(NOT "${beginning}\n${clang_names}" MATCHES "${name}")
    message(FATAL_ERROR "the compiler does not name ${name} before its first error:\n${beginning}")
  endif()
endforeach()
