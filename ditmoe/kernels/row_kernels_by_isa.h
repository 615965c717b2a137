#pragma once

#include "ditmoe/kernels/row_kernels.h"

// One function per file that compiles the loops.
namespace ditmoe::kernels {

const RowKernels& row_kernels_avx2();
const RowKernels& row_kernels_avx512();

}  // namespace ditmoe::kernels
