# SPDX-License-Identifier: BSD-3-Clause

# Tests and examples instantiate every template of the library again: reading the headers and optimizing that would take
# most of the build's time. What is tested is in the libraries, which are optimized; tests, examples and the programs
# that tests start are not. Their headers come precompiled, in two sets: what mechanics need, made with
# troupe_test_support, and what programs with workers need, made with troupe_process_main. A set is valid for the flags
# it was made with, so all of its users have the same ones; a definition more does no harm if no header asks for it.
# Builds with CMAKE_DISABLE_PRECOMPILE_HEADERS (presets clang and tidy) show which file lacks an include.
set(TROUPE_TEST_FLAGS -O0)

# troupe_precompile_program(<target>): a program with workers; builds without such tests have no headers for it.
function(troupe_precompile_program target)
  if(TARGET troupe_process_main)
    target_compile_options(${target} PRIVATE ${TROUPE_TEST_FLAGS})
    # GoogleTest is among these headers, and its definitions belong to what they are valid for.
    target_compile_definitions(${target} PRIVATE $<TARGET_PROPERTY:GTest::gtest,INTERFACE_COMPILE_DEFINITIONS>)
    target_compile_options(${target} PRIVATE $<TARGET_PROPERTY:GTest::gtest,INTERFACE_COMPILE_OPTIONS>)
    target_precompile_headers(${target} REUSE_FROM troupe_process_main)
  endif()
endfunction()

# troupe_add_test_program(<name>
#   SOURCES <file>...
#   [LIBRARIES <library>...])  besides troupe::troupe
#
# Builds a program with workers that has a main() of its own, such as those that tests start and watch.
function(troupe_add_test_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "troupe_add_test_program(${name}): unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE troupe::troupe ${arg_LIBRARIES} troupe_warnings)
  troupe_precompile_program(${name})
endfunction()

# troupe_add_test(<name>
#   SOURCES <file>...
#   [LIBRARIES <library>...]   besides GoogleTest and tests/support
#   [LABELS <label>...]        for ctest -L and -LE
#   [ENVIRONMENT <VAR=value>...]
#   [TIMEOUT <seconds>]        per test case, 120 unless said
#   [RUN_SERIAL]               alone on the machine; needs a reason beside it
#   [PROCESS])                 starts workers: main() of tests/support/process_main.cpp, label `process`
#
# Builds the executable <name> and gives ctest one test per TEST, called <name>/<Suite>.<Sentence>.
function(troupe_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "PROCESS;RUN_SERIAL" "TIMEOUT"
                        "SOURCES;LIBRARIES;LABELS;ENVIRONMENT")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "troupe_add_test(${name}): unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()

  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} troupe_test_support troupe_warnings)
  if(arg_PROCESS)
    target_link_libraries(${name} PRIVATE troupe_process_main troupe::troupe)
    list(APPEND arg_LABELS process)
    troupe_precompile_program(${name})
  else()
    target_link_libraries(${name} PRIVATE GTest::gtest_main)
    target_compile_options(${name} PRIVATE ${TROUPE_TEST_FLAGS})
    target_precompile_headers(${name} REUSE_FROM troupe_test_support)
  endif()

  # PRE_TEST: a sanitized program may need the test preset's environment to run at all, the build has none.
  # NO_PRETTY_VALUES: a parameter without a printer would put its bytes, addresses among them, in the name.
  gtest_discover_tests(
    ${name}
    TEST_PREFIX "${name}/"
    TEST_LIST ${name}_TESTS
    NO_PRETTY_VALUES
    DISCOVERY_MODE PRE_TEST
    DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${arg_TIMEOUT} RUN_SERIAL ${arg_RUN_SERIAL})
  # Properties that are lists do not survive gtest_discover_tests, so ctest sets them once it knows the names.
  # (It does not list names with brackets in them, as of a typed test on int[3]: those go without.)
  list(REMOVE_DUPLICATES arg_LABELS)
  set(properties "${CMAKE_CURRENT_BINARY_DIR}/${name}_properties.cmake")
  file(
    CONFIGURE
    OUTPUT
    "${properties}"
    CONTENT
    [=[
if(@name@_TESTS)
  set_tests_properties(${@name@_TESTS} PROPERTIES LABELS [==[@arg_LABELS@]==] ENVIRONMENT [==[@arg_ENVIRONMENT@]==])
endif()
]=]
    @ONLY)
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${properties}")
endfunction()

# troupe_add_example(<name>
#   [ARGS <argument>...]
#   [MODE exact|sorted|regex]  how standard output is compared with expected/<name>.txt
#   [LABELS <label>...]
#   [TIMEOUT <seconds>])       60 unless said
#
# Builds <name>.cpp against the public headers alone. With tests on, a test example/<name> runs it: it must
# exit with 0, and its output must be the expected one: byte by byte, as a set of lines in any order, or
# line by line, where each expected line is a regular expression for the whole line.
function(troupe_add_example name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "MODE;TIMEOUT" "ARGS;LABELS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "troupe_add_example(${name}): unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_MODE)
    set(arg_MODE exact)
  elseif(NOT arg_MODE MATCHES "^(exact|sorted|regex)$")
    message(FATAL_ERROR "troupe_add_example(${name}): MODE is exact, sorted or regex, not ${arg_MODE}")
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()

  add_executable(${name} ${name}.cpp)
  target_link_libraries(${name} PRIVATE troupe::troupe troupe_warnings)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/examples")

  troupe_precompile_program(${name})

  if(TROUPE_BUILD_TESTS)
    add_test(
      NAME example/${name}
      COMMAND
        "${PROJECT_SOURCE_DIR}/cmake/compare_output.sh" ${arg_MODE}
        "${CMAKE_CURRENT_SOURCE_DIR}/expected/${name}.txt" "$<TARGET_FILE:${name}>" ${arg_ARGS})
    set_tests_properties(example/${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS
                                                    "example;${arg_LABELS}")
  endif()
endfunction()
