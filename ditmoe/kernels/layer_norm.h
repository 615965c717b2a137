#pragma once

namespace ditmoe::kernels {

// Added to the variance by every LayerNorm of these networks.
constexpr float kLayerNormEps = 1e-6f;

}  // namespace ditmoe::kernels
