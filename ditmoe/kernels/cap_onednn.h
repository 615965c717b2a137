#pragma once

namespace ditmoe::kernels {

// oneDNN may use no more than DITMOE_FORCE_ISA allows, which it takes before its first use only.
void cap_onednn();

}  // namespace ditmoe::kernels
