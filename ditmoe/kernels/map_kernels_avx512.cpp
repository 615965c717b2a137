#include "ditmoe/kernels/map_kernels_by_isa.h"
#include "ditmoe/kernels/map_loops.h"

namespace ditmoe::kernels {

const MapKernels& map_kernels_avx512() { return kMapLoops; }

}  // namespace ditmoe::kernels
