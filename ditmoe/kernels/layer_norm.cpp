#include "ditmoe/kernels/layer_norm.h"

#include <cmath>

#include "ditmoe/kernels/reduce.h"

namespace ditmoe::kernels {
namespace {

struct Moments {
  float mean;
  float inverse_deviation;
};

Moments moments(const float* row, int64_t width) {
  const float mean = sum_in_lanes(width, [row](int64_t i) { return row[i]; }) / width;
  const float squares = sum_in_lanes(width, [row, mean](int64_t i) {
    const float centred = row[i] - mean;
    return centred * centred;
  });
  return {mean, 1.0f / std::sqrt(squares / width + kLayerNormEps)};
}

}  // namespace

void layer_norm_affine(const float* src,
                       int64_t src_stride,
                       const float* weight,
                       const float* bias,
                       int64_t rows,
                       int64_t width,
                       float* dst,
                       int64_t dst_stride) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = src + row * src_stride;
    float* __restrict__ out = dst + row * dst_stride;
    const Moments m = moments(in, width);
    for (int64_t i = 0; i < width; ++i) {
      out[i] = (in[i] - m.mean) * m.inverse_deviation * weight[i] + bias[i];
    }
  }
}

}  // namespace ditmoe::kernels
