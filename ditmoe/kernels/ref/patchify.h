#pragma once

#include <cstdint>

#include "ditmoe/kernels/patchify.h"

namespace ditmoe::kernels::ref {

// Scalar definition of kernels::patchify; the same contract.
void patchify(const float* image_CHW, const PatchShape& shape, float* tokens);

// Scalar definition of kernels::unpatchify; the same contract.
void unpatchify(const float* tokens, const PatchShape& shape, float* image_CHW);

}  // namespace ditmoe::kernels::ref
