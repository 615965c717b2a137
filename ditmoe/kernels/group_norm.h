#pragma once

#include <cstdint>

#include "ditmoe/kernels/map_shape.h"

namespace ditmoe::kernels {

// Added to the variance by every GroupNorm of the autoencoder.
constexpr double kGroupNormEps = 1e-6;

// GroupNorm (Wu and He, arXiv 1803.08494) of a map as a scale and a shift of each channel:
//   y[c] = x[c] · scale[c] + shift[c] = (x[c] - mean) / sqrt(variance + eps) · weight[c] + bias[c]
// with mean and variance over all pixels of the group of channels that c belongs to.
//   row_sums [height, 2, channels]: the sum and the sum of squares of each row and channel
//   weight, bias, scale, shift [channels]; groups divides the channels
void fold_group_norm(const double* row_sums,
                     const MapShape& shape,
                     int64_t groups,
                     const float* weight,
                     const float* bias,
                     float* scale,
                     float* shift);

}  // namespace ditmoe::kernels
