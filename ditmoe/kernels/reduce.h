#pragma once

#include <array>
#include <cstdint>

namespace ditmoe::kernels {

// Sums term(i) over i in [0, size) in 16 lanes, lane l taking i = l mod 16: an order of additions
// that vectorises and depends on nothing but size.
template <typename Term>
[[gnu::always_inline]] inline float sum_in_lanes(int64_t size, const Term& term) {
  constexpr int64_t kLanes = 16;  // two AVX2 registers, to hide the latency of an addition
  std::array<float, kLanes> lanes = {};
  const int64_t whole = size - size % kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += term(i + lane);
    }
  }
  for (int64_t i = whole; i < size; ++i) {
    lanes[i - whole] += term(i);
  }
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) {
      lanes[lane] += lanes[lane + half];
    }
  }
  return lanes[0];
}

}  // namespace ditmoe::kernels
