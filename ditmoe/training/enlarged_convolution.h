#pragma once

#include <torch/types.h>

namespace ditmoe::training {

// Of maps [B, C, H, W], float or bfloat16, channels-last. Differentiable in all tensors.
// The 3x3 convolution, with a border of zeros, of x enlarged twofold (each pixel four times), as
// one step with 4/9 of the work: a pixel of the result lies over 2x2 pixels of x, so the nine
// weights come together in four. [B, O, 2H, 2W].
//   weight [O, C, 3, 3] f32, rounded to the type of x after they were summed; bias [O] f32
at::Tensor enlarged_convolution(const at::Tensor& x,
                                const at::Tensor& weight,
                                const at::Tensor& bias);

}  // namespace ditmoe::training
