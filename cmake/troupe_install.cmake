# SPDX-License-Identifier: BSD-3-Clause
# Installs troupe as a CMake package: find_package(troupe) gives troupe::troupe and the layers.

include(CMakePackageConfigHelpers)

set(troupe_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/troupe")

install(TARGETS troupe EXPORT troupe)
install(
  EXPORT troupe
  FILE troupeTargets.cmake
  NAMESPACE troupe::
  DESTINATION "${troupe_package_dir}")

configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/troupeConfig.cmake.in" "${PROJECT_BINARY_DIR}/troupeConfig.cmake"
  INSTALL_DESTINATION "${troupe_package_dir}")
# Before 1.0 a minor version may change the interface and the bytes between processes.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/troupeConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(
  FILES "${PROJECT_BINARY_DIR}/troupeConfig.cmake"
        "${PROJECT_BINARY_DIR}/troupeConfigVersion.cmake"
        "${PROJECT_SOURCE_DIR}/cmake/FindTroupeAsio.cmake"
        "${PROJECT_SOURCE_DIR}/cmake/FindTroupeCAF.cmake"
  DESTINATION "${troupe_package_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
