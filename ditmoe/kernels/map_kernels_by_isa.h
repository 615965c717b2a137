#pragma once

#include "ditmoe/kernels/map_kernels.h"

// One function per file that compiles the loops.
namespace ditmoe::kernels {

const MapKernels& map_kernels_avx2();
const MapKernels& map_kernels_avx512();

}  // namespace ditmoe::kernels
