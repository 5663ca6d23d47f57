# SPDX-License-Identifier: BSD-3-Clause
# Finds the C++ Actor Framework and defines CAF::core, the only module that is used.
#
# CAF 1.x brings a CMake package; Debian's 0.17.6 brings neither that nor a .pc file. Installed next to
# troupeConfig.cmake, so that users of an installed troupe find CAF the same way.
#
# Sets TroupeCAF_FOUND and TroupeCAF_VERSION.

if(NOT TARGET CAF::core)
  find_package(CAF CONFIG QUIET COMPONENTS core)
endif()

if(TARGET CAF::core)
  set(TroupeCAF_CORE CAF::core)
  set(TroupeCAF_VERSION "${CAF_VERSION}")
else()
  find_path(TroupeCAF_INCLUDE_DIR caf/config.hpp)
  find_library(TroupeCAF_CORE_LIBRARY caf_core)
  mark_as_advanced(TroupeCAF_INCLUDE_DIR TroupeCAF_CORE_LIBRARY)

  if(TroupeCAF_INCLUDE_DIR)
    # One number, 1706 for 0.17.6.
    file(STRINGS "${TroupeCAF_INCLUDE_DIR}/caf/config.hpp" _troupe_caf_version
         REGEX "^#define CAF_VERSION [0-9]+")
    if(_troupe_caf_version MATCHES "CAF_VERSION ([0-9]+)")
      math(EXPR _troupe_caf_major "${CMAKE_MATCH_1} / 10000")
      math(EXPR _troupe_caf_minor "${CMAKE_MATCH_1} / 100 % 100")
      math(EXPR _troupe_caf_patch "${CMAKE_MATCH_1} % 100")
      set(TroupeCAF_VERSION "${_troupe_caf_major}.${_troupe_caf_minor}.${_troupe_caf_patch}")
    endif()
  endif()

  if(TroupeCAF_INCLUDE_DIR AND TroupeCAF_CORE_LIBRARY)
    find_package(Threads REQUIRED)
    set(TroupeCAF_CORE "${TroupeCAF_CORE_LIBRARY}")
    add_library(CAF::core UNKNOWN IMPORTED)
    set_target_properties(
      CAF::core
      PROPERTIES IMPORTED_LOCATION "${TroupeCAF_CORE_LIBRARY}"
                 INTERFACE_INCLUDE_DIRECTORIES "${TroupeCAF_INCLUDE_DIR}"
                 INTERFACE_LINK_LIBRARIES Threads::Threads)
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  TroupeCAF
  REQUIRED_VARS TroupeCAF_CORE
  VERSION_VAR TroupeCAF_VERSION
  REASON_FAILURE_MESSAGE
    "CAF (C++ Actor Framework) is missing: install Debian's libcaf-dev (tools/setup does), or point CMAKE_PREFIX_PATH at a CAF 1.x"
)
