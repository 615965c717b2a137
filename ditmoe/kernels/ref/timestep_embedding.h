#pragma once

#include <cstdint>

namespace ditmoe::kernels::ref {

// Scalar definition of kernels::timestep_embedding; the same contract.
void timestep_embedding(const float* t, int64_t count, float* dst);

}  // namespace ditmoe::kernels::ref
