# Debian's libtorch as one imported target. TorchConfig.cmake drags in CUDA look-ups and global flags,
# so the three libraries are named here instead.
find_path(DITMOE_TORCH_INCLUDE torch/csrc/api/include/torch/torch.h REQUIRED)
find_library(DITMOE_TORCH_LIBRARY torch REQUIRED)
find_library(DITMOE_TORCH_CPU_LIBRARY torch_cpu REQUIRED)
find_library(DITMOE_C10_LIBRARY c10 REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)

add_library(ditmoe_torch INTERFACE)
target_include_directories(
  ditmoe_torch SYSTEM INTERFACE ${DITMOE_TORCH_INCLUDE} ${DITMOE_TORCH_INCLUDE}/torch/csrc/api/include)
target_link_libraries(ditmoe_torch INTERFACE ${DITMOE_TORCH_LIBRARY} ${DITMOE_TORCH_CPU_LIBRARY}
                                             ${DITMOE_C10_LIBRARY} OpenMP::OpenMP_CXX)

# Parsing torch's headers costs 8-20 s a file, so they are precompiled, once: by the first module that
# includes them.
function(ditmoe_use_torch target)
  target_link_libraries(${target} PUBLIC ditmoe_torch)
  if(TARGET ditmoe_autograd AND NOT target STREQUAL ditmoe_autograd)
    target_precompile_headers(${target} REUSE_FROM ditmoe_autograd)
  else()
    target_precompile_headers(${target} PRIVATE <torch/torch.h>)
  endif()
endfunction()
