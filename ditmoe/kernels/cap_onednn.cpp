#include "ditmoe/kernels/cap_onednn.h"

#include <array>

#include <oneapi/dnnl/dnnl.hpp>

#include "ditmoe/base/cpu.h"

namespace ditmoe::kernels {

void cap_onednn() {
  static const bool capped = [] {
    const base::Isa isa = base::chosen_isa();
    if (isa == base::cpu_isa()) return false;
    const std::array<dnnl::cpu_isa, 4> names = {dnnl::cpu_isa::avx2,
                                                dnnl::cpu_isa::avx512_core,
                                                dnnl::cpu_isa::avx512_core_vnni,
                                                dnnl::cpu_isa::avx512_core_bf16};
    return dnnl::set_max_cpu_isa(names.at(static_cast<size_t>(isa))) == dnnl::status::success;
  }();
  static_cast<void>(capped);
}

}  // namespace ditmoe::kernels
