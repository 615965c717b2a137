#include "ditmoe/kernels/row_kernels.h"

#include "ditmoe/kernels/row_kernels_by_isa.h"

namespace ditmoe::kernels {

const RowKernels& row_kernels(base::Isa isa) {
  return isa >= base::Isa::kAvx512 ? row_kernels_avx512() : row_kernels_avx2();
}

}  // namespace ditmoe::kernels
