#include "ditmoe/kernels/softmax.h"

#include <algorithm>
#include <array>

#include "ditmoe/kernels/exp.h"
#include "ditmoe/kernels/reduce.h"

namespace ditmoe::kernels {
namespace {

// The maximum is independent of order, so lanes need no care; NaN may be lost, the sum finds it.
float largest(const float* row, int64_t size) {
  constexpr int64_t kLanes = 16;
  std::array<float, kLanes> lanes;
  lanes.fill(row[0]);
  const int64_t whole = size - size % kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = row[i + lane] > lanes[lane] ? row[i + lane] : lanes[lane];
    }
  }
  for (int64_t i = whole; i < size; ++i) {
    lanes[0] = std::max(lanes[0], row[i]);
  }
  return *std::max_element(lanes.begin(), lanes.end());
}

}  // namespace

void softmax(float* row, int64_t size, float scale) {
  const float peak = scale * largest(row, size);
  for (int64_t i = 0; i < size; ++i) {
    row[i] = exp_f32(scale * row[i] - peak);
  }
  const float inverse_sum = 1.0f / sum_in_lanes(size, [row](int64_t i) { return row[i]; });
  for (int64_t i = 0; i < size; ++i) {
    row[i] *= inverse_sum;
  }
}

}  // namespace ditmoe::kernels
