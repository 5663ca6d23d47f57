# SPDX-License-Identifier: BSD-3-Clause
# Finds standalone Asio, a library of headers only, and defines Asio::asio.
#
# Debian's package brings no CMake package. Installed next to troupeConfig.cmake, so that users of an installed
# troupe find it the same way.
#
# Sets TroupeAsio_FOUND and TroupeAsio_VERSION.

find_path(TroupeAsio_INCLUDE_DIR asio/version.hpp)
mark_as_advanced(TroupeAsio_INCLUDE_DIR)

if(TroupeAsio_INCLUDE_DIR)
  # One number, 102201 for 1.22.1.
  file(STRINGS "${TroupeAsio_INCLUDE_DIR}/asio/version.hpp" _troupe_asio_version
       REGEX "^#define ASIO_VERSION [0-9]+")
  if(_troupe_asio_version MATCHES "ASIO_VERSION ([0-9]+)")
    math(EXPR _troupe_asio_major "${CMAKE_MATCH_1} / 100000")
    math(EXPR _troupe_asio_minor "${CMAKE_MATCH_1} / 100 % 1000")
    math(EXPR _troupe_asio_patch "${CMAKE_MATCH_1} % 100")
    set(TroupeAsio_VERSION "${_troupe_asio_major}.${_troupe_asio_minor}.${_troupe_asio_patch}")
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  TroupeAsio
  REQUIRED_VARS TroupeAsio_INCLUDE_DIR
  VERSION_VAR TroupeAsio_VERSION
  REASON_FAILURE_MESSAGE
    "standalone Asio 1.22 or newer is missing: install Debian's libasio-dev (tools/setup does)")

if(TroupeAsio_FOUND AND NOT TARGET Asio::asio)
  add_library(Asio::asio INTERFACE IMPORTED)
  # Asio up to 1.22 looks for the header that Clang had before C++20, and finds no coroutines where that is gone.
  set(_troupe_asio_clang "$<$<CXX_COMPILER_ID:Clang,AppleClang>:ASIO_HAS_CO_AWAIT=1;ASIO_HAS_STD_COROUTINE=1>")
  set_target_properties(
    Asio::asio PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${TroupeAsio_INCLUDE_DIR}"
                          INTERFACE_COMPILE_DEFINITIONS "ASIO_STANDALONE;${_troupe_asio_clang}")
endif()
