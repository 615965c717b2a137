#include "ditmoe/kernels/ref/layer_norm.h"

#include <cmath>
#include <vector>

#include "ditmoe/kernels/layer_norm.h"

namespace ditmoe::kernels::ref {
namespace {

std::vector<double> normalised(const float* row, int64_t width) {
  double mean = 0.0;
  for (int64_t i = 0; i < width; ++i) {
    mean += row[i] / static_cast<double>(width);
  }
  double variance = 0.0;
  for (int64_t i = 0; i < width; ++i) {
    variance += (row[i] - mean) * (row[i] - mean) / static_cast<double>(width);
  }
  std::vector<double> result(static_cast<size_t>(width));
  for (int64_t i = 0; i < width; ++i) {
    result[i] = (row[i] - mean) / std::sqrt(variance + kLayerNormEps);
  }
  return result;
}

}  // namespace

void layer_norm_modulate(const float* src,
                         const float* shift,
                         const float* scale,
                         int64_t rows,
                         int64_t width,
                         float* dst) {
  for (int64_t row = 0; row < rows; ++row) {
    const std::vector<double> norm = normalised(src + row * width, width);
    for (int64_t i = 0; i < width; ++i) {
      dst[row * width + i] = static_cast<float>(norm[i] * (1.0 + scale[i]) + shift[i]);
    }
  }
}

void layer_norm_affine(const float* src,
                       int64_t src_stride,
                       const float* weight,
                       const float* bias,
                       int64_t rows,
                       int64_t width,
                       float* dst,
                       int64_t dst_stride) {
  for (int64_t row = 0; row < rows; ++row) {
    const std::vector<double> norm = normalised(src + row * src_stride, width);
    for (int64_t i = 0; i < width; ++i) {
      dst[row * dst_stride + i] = static_cast<float>(norm[i] * weight[i] + bias[i]);
    }
  }
}

}  // namespace ditmoe::kernels::ref
