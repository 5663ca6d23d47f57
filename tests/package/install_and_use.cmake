# SPDX-License-Identifier: BSD-3-Clause
# cmake -D... -P install_and_use.cmake; see CMakeLists.txt here for the variables.
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE "${SCRATCH}")
run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${SCRATCH}/installed")
# Moved, because a package must not know where it was installed first.
file(RENAME "${SCRATCH}/installed" "${SCRATCH}/prefix")

file(GLOB_RECURSE package_files "${SCRATCH}/prefix/*.cmake")
foreach(file IN LISTS package_files)
  file(READ "${file}" text)
  foreach(folder IN ITEMS "${SOURCE}" "${BUILD}")
    string(FIND "${text}" "${folder}" at)
    if(NOT at EQUAL -1)
      message(FATAL_ERROR "${file} names a folder of the build: ${folder}")
    endif()
  endforeach()
endforeach()

# Where this build found its dependencies; a list would not survive the command line.
string(REPLACE ";" ":" search_path "${PREFIX_PATH}")
set(ENV{CMAKE_PREFIX_PATH} "${search_path}:$ENV{CMAKE_PREFIX_PATH}")
run("${CMAKE_COMMAND}"
    -S
    "${CONSUMER}"
    -B
    "${SCRATCH}/build"
    -G
    "${GENERATOR}"
    "-DCMAKE_CXX_COMPILER=${COMPILER}"
    "-DCMAKE_CXX_FLAGS=${FLAGS}"
    "-DCMAKE_PREFIX_PATH=${SCRATCH}/prefix")
run("${CMAKE_COMMAND}" --build "${SCRATCH}/build")
run("${SCRATCH}/build/consumer")
