#pragma once

#include "ditmoe/kernels/gradient_kernels.h"

// One function per file that compiles the loops.
namespace ditmoe::kernels {

const GradientKernels& gradient_kernels_avx2();
const GradientKernels& gradient_kernels_avx512();

}  // namespace ditmoe::kernels
