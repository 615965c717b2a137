#include "ditmoe/kernels/gradient_kernels.h"

#include "ditmoe/kernels/gradient_kernels_by_isa.h"

namespace ditmoe::kernels {

const GradientKernels& gradient_kernels(base::Isa isa) {
  return isa >= base::Isa::kAvx512 ? gradient_kernels_avx512() : gradient_kernels_avx2();
}

}  // namespace ditmoe::kernels
