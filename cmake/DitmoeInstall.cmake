# Install and export: the torch-free libraries, their headers, the programs and the models.
include(CMakePackageConfigHelpers)
set(DITMOE_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/ditmoe)

get_property(modules GLOBAL PROPERTY DITMOE_MODULES)
list(REMOVE_ITEM modules ditmoe_autograd ditmoe_training) # torch stays behind its firewall

install(
  TARGETS ${modules}
  EXPORT ditmoe
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(
  DIRECTORY ${PROJECT_SOURCE_DIR}/ditmoe
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING
  PATTERN "*.h"
  PATTERN autograd EXCLUDE
  PATTERN training EXCLUDE)
install(
  EXPORT ditmoe
  NAMESPACE ditmoe::
  FILE ditmoeTargets.cmake
  DESTINATION ${DITMOE_PACKAGE_DIR})

configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/ditmoeConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/ditmoeConfig.cmake
  INSTALL_DESTINATION ${DITMOE_PACKAGE_DIR}
  PATH_VARS CMAKE_INSTALL_DATADIR)
# Before 1.0 a minor version may change interfaces.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/ditmoeConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/ditmoeConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/ditmoeConfigVersion.cmake
              ${CMAKE_CURRENT_LIST_DIR}/FindDNNL.cmake
        DESTINATION ${DITMOE_PACKAGE_DIR})

foreach(program IN ITEMS ditmoe ditmoe-train)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/models ${PROJECT_SOURCE_DIR}/recipes
        DESTINATION ${CMAKE_INSTALL_DATADIR}/ditmoe)
