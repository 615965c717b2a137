#include "ditmoe/kernels/gradient_kernels_by_isa.h"
#include "ditmoe/kernels/gradient_loops.h"

namespace ditmoe::kernels {

const GradientKernels& gradient_kernels_avx512() { return kGradientLoops; }

}  // namespace ditmoe::kernels
