# SPDX-License-Identifier: BSD-3-Clause
# What holds for every target of this build, and not for projects that include it as a subproject.

if(PROJECT_IS_TOP_LEVEL)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Kind of build" FORCE)
  endif()
  if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
    find_program(TROUPE_CCACHE ccache)
    mark_as_advanced(TROUPE_CCACHE)
    if(TROUPE_CCACHE)
      # Tried first: without a folder that it may write to, ccache fails instead of compiling.
      set(probe "${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/ccache_probe.cpp")
      file(WRITE "${probe}" "")
      execute_process(
        COMMAND "${TROUPE_CCACHE}" "${CMAKE_CXX_COMPILER}" -c "${probe}" -o "${probe}.o"
        RESULT_VARIABLE status
        OUTPUT_QUIET ERROR_QUIET)
      if(status EQUAL 0)
        # Without these two, ccache passes on whatever uses precompiled headers. What they let it overlook: a definition
        # on the command line that a precompiled header asked for (of which there is none), and __TIME__ (unused).
        set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros "${TROUPE_CCACHE}")
        if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
          # Keeps the name of the precompiled header in what the preprocessor prints, which ccache hashes.
          add_compile_options(-fpch-preprocess)
        endif()
      else()
        message(STATUS "ccache is installed but does not work here: compiling without it")
      endif()
    endif()
  endif()
  # clang-tidy reads it; costs nothing.
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
endif()

# C++20 itself is asked for by each layer (a usage requirement); only the dialect is set here.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)

# Warnings for our own sources. Private to the build: linked as $<BUILD_INTERFACE:troupe_warnings>, so
# that a user's compiler flags stay a user's choice. -Werror comes from presets only.
add_library(troupe_warnings INTERFACE)
target_compile_options(
  troupe_warnings
  INTERFACE -Wall
            -Wextra
            -Wpedantic
            -Wconversion
            -Wshadow
            -Wnon-virtual-dtor
            -Woverloaded-virtual
            -Wextra-semi
            -Wformat=2
            -Wundef)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # Whether what a mutex guards is used with that mutex held: troupe/detail/thread_safety.hpp, tools/thread-safety.
  target_compile_options(troupe_warnings INTERFACE -Wthread-safety)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 sees overlapping copies in `"text" + std::string` (GCC bug 105651), and the virtual branch of a call through
  # a pointer to a member function that is not virtual.
  target_compile_options(troupe_warnings INTERFACE -Wno-restrict -Wno-array-bounds)
endif()
