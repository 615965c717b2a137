#include "ditmoe/kernels/map_kernels.h"

#include "ditmoe/kernels/map_kernels_by_isa.h"

namespace ditmoe::kernels {

const MapKernels& map_kernels(base::Isa isa) {
  return isa >= base::Isa::kAvx512 ? map_kernels_avx512() : map_kernels_avx2();
}

}  // namespace ditmoe::kernels
