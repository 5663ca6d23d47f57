# SPDX-License-Identifier: BSD-3-Clause
# cmake -DSOURCES=<folder> -P check_thread_locals.cmake: every thread_local of the library is constinit, so that it
# can be used behind the destruction of a thread's thread_locals; or it is in thread_owned.hpp, which knows when it
# is gone.
file(GLOB_RECURSE files "${SOURCES}/serialization/*.?pp" "${SOURCES}/runtime/*.?pp" "${SOURCES}/actors/*.?pp")
if(NOT files)
  message(FATAL_ERROR "no sources in ${SOURCES}")
endif()
set(wrong "")
foreach(file IN LISTS files)
  cmake_path(GET file FILENAME name)
  if(name STREQUAL "thread_owned.hpp")
    continue()
  endif()
  file(STRINGS "${file}" lines REGEX "(^|[^A-Za-z_])thread_local ")
  foreach(line IN LISTS lines)
    if(NOT line MATCHES "constinit thread_local " AND NOT line MATCHES "^ *//")
      string(APPEND wrong "\n  ${file}: ${line}")
    endif()
  endforeach()
endforeach()
if(wrong)
  message(FATAL_ERROR "neither constinit nor made by detail::thread_owned:${wrong}")
endif()
