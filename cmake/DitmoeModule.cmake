# One library per folder of ditmoe/: folder = namespace = target (ditmoe_base, alias ditmoe::base).

add_library(ditmoe_options INTERFACE)
target_compile_features(ditmoe_options INTERFACE cxx_std_20)
target_compile_options(
  ditmoe_options
  INTERFACE -march=x86-64-v3 # AVX2 is the oldest CPU supported; faster paths are chosen at run time
            -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers
            $<$<BOOL:${DITMOE_WERROR}>:-Werror>)
if(DITMOE_SANITIZE)
  target_compile_options(ditmoe_options INTERFACE -fsanitize=${DITMOE_SANITIZE} -fno-sanitize-recover=all
                                                  -fno-omit-frame-pointer)
  target_link_options(ditmoe_options INTERFACE -fsanitize=${DITMOE_SANITIZE})
endif()

# ditmoe_module(NAME SOURCES a.cpp ... [DEPENDS base ...] [LIBRARIES external ...] [PUBLIC_LIBRARIES ...])
# DEPENDS are other folders of ditmoe/, LIBRARIES are external and stay private. PUBLIC_LIBRARIES
# are those whose headers our public headers include.
function(ditmoe_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;LIBRARIES;PUBLIC_LIBRARIES" ${ARGN})
  set(target ditmoe_${name})
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(ditmoe::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                                              $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  list(TRANSFORM ARG_DEPENDS PREPEND ditmoe_)
  target_link_libraries(${target} PUBLIC ${ARG_DEPENDS} ${ARG_PUBLIC_LIBRARIES}
                                  PRIVATE $<BUILD_INTERFACE:ditmoe_options> ${ARG_LIBRARIES})
  set_property(GLOBAL APPEND PROPERTY DITMOE_MODULES ${target})
endfunction()
