# SPDX-License-Identifier: BSD-3-Clause

# troupe_add_layer(<name>
#   [HEADERS <file>...]   public and detail headers, all below include/
#   [SOURCES <file>...]   below src/
#   [PRECOMPILED <header>...]  read once for all sources, in builds with tests
#   [PUBLIC <library>...] [PRIVATE <library>...])
#
# Defines the static library troupe_<name>, alias troupe::<name>, from the folder it is called in; file names
# are relative to that folder. include/ is the layer's include root for users, src/ for itself alone, so
# an include that points at a higher layer does not compile. Every header is checked to compile by
# itself by the target all_verify_interface_header_sets.
function(troupe_add_layer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "HEADERS;SOURCES;PRECOMPILED;PUBLIC;PRIVATE")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "troupe_add_layer(${name}): unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_SOURCES)
    message(FATAL_ERROR "troupe_add_layer(${name}): a static library needs SOURCES")
  endif()

  # A header that is missing here is found in this tree all the same, but by no user: it is not installed.
  file(
    GLOB_RECURSE unnamed CONFIGURE_DEPENDS
    RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}"
    "${CMAKE_CURRENT_SOURCE_DIR}/include/*.hpp")
  list(REMOVE_ITEM unnamed ${arg_HEADERS})
  if(unnamed)
    message(FATAL_ERROR "troupe_add_layer(${name}): HEADERS lacks ${unnamed}")
  endif()

  set(target troupe_${name})
  add_library(${target} STATIC ${arg_SOURCES})
  add_library(troupe::${name} ALIAS ${target})
  target_sources(
    ${target}
    PUBLIC FILE_SET
           HEADERS
           BASE_DIRS
           include
           FILES
           ${arg_HEADERS})
  # Private headers of the layers below: this target's own sources may include them, users may not.
  get_property(lower GLOBAL PROPERTY TROUPE_LAYER_SOURCES)
  target_include_directories(${target} PRIVATE src ${lower})
  set_property(GLOBAL APPEND PROPERTY TROUPE_LAYER_SOURCES "${CMAKE_CURRENT_SOURCE_DIR}/src")
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(
    ${target}
    PUBLIC ${arg_PUBLIC}
    PRIVATE ${arg_PRIVATE} $<BUILD_INTERFACE:troupe_warnings>)
  set_target_properties(
    ${target}
    PROPERTIES EXPORT_NAME ${name}
               POSITION_INDEPENDENT_CODE ON
               CXX_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON
               VERIFY_INTERFACE_HEADER_SETS ON)
  if(arg_PRECOMPILED AND TROUPE_BUILD_TESTS)
    target_precompile_headers(${target} PRIVATE ${arg_PRECOMPILED})
  endif()
  if(TROUPE_FAILPOINTS AND name STREQUAL "runtime")
    # Public, because the layer above places fail-points of its own.
    target_compile_definitions(${target} PUBLIC TROUPE_FAILPOINTS=1)
  endif()

  target_link_libraries(troupe INTERFACE troupe::${name})
  install(
    TARGETS ${target}
    EXPORT troupe
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    FILE_SET HEADERS
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endfunction()
