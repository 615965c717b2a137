#include "ditmoe/kernels/group_norm.h"

#include <cmath>
#include <vector>

#include "ditmoe/base/error.h"

namespace ditmoe::kernels {

void fold_group_norm(const double* row_sums,
                     const MapShape& shape,
                     int64_t groups,
                     const float* weight,
                     const float* bias,
                     float* scale,
                     float* shift) {
  DITMOE_ASSERT(groups > 0 && shape.channels % groups == 0);
  const int64_t channels = shape.channels;
  std::vector<double> totals(static_cast<size_t>(2 * channels));
  for (int64_t row = 0; row < shape.height; ++row) {
    const double* own = row_sums + row * 2 * channels;
    for (int64_t i = 0; i < 2 * channels; ++i) totals[static_cast<size_t>(i)] += own[i];
  }
  const int64_t width = channels / groups;
  const double count = static_cast<double>(shape.pixels() * width);
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t first = group * width;
    double sum = 0.0;
    double squares = 0.0;
    for (int64_t c = first; c < first + width; ++c) {
      sum += totals[static_cast<size_t>(c)];
      squares += totals[static_cast<size_t>(channels + c)];
    }
    const double mean = sum / count;
    const double deviation = squares / count - mean * mean;
    // What is left of a constant group may be a little below 0. A NaN stays one.
    const double variance = deviation < 0.0 ? 0.0 : deviation;
    const double inverse = 1.0 / std::sqrt(variance + kGroupNormEps);
    for (int64_t c = first; c < first + width; ++c) {
      scale[c] = static_cast<float>(inverse * weight[c]);
      shift[c] = static_cast<float>(bias[c] - mean * inverse * weight[c]);
    }
  }
}

}  // namespace ditmoe::kernels
