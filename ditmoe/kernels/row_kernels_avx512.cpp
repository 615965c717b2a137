#include "ditmoe/kernels/row_kernels_by_isa.h"
#include "ditmoe/kernels/row_loops.h"

namespace ditmoe::kernels {

const RowKernels& row_kernels_avx512() { return kRowLoops; }

}  // namespace ditmoe::kernels
