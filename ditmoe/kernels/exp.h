#pragma once

#include <bit>
#include <cstdint>

namespace ditmoe::kernels {

// e^x to 2 ulp, inline and free of branches so that loops over it vectorise. NaN stays NaN,
// overflow gives infinity, underflow goes through the denormals to zero.
//   x = n ln 2 + r, |r| <= ln 2 / 2;   e^x = 2^n e^r
[[gnu::always_inline]] inline float exp_f32(float x) {
  // Beyond these e^x is infinite or zero in f32. A NaN fails both comparisons and passes through.
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  // Adding 1.5 · 2^23 rounds to an integer, left in the low bits of the sum.
  constexpr float kRound = 12582912.0f;
  const float rounded = x * 1.44269504088896341f + kRound;
  const float n = rounded - kRound;
  // ln 2 in two parts, the first short enough for n times it to be exact.
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440054690583e-4f;
  // Taylor coefficients 1/7! .. 1/2!: the next term, r^8/8!, is below 6e-9 of e^r, a tenth of an
  // ulp.
  float p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  // 2^n in two factors, since n runs from -150 to 128 while an exponent only holds -126 to 127.
  const uint32_t exponent = std::bit_cast<uint32_t>(rounded) - std::bit_cast<uint32_t>(kRound);
  const uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(exponent) >> 1);
  const float scale_0 = std::bit_cast<float>((half + 127u) << 23);
  const float scale_1 = std::bit_cast<float>((exponent - half + 127u) << 23);
  return p * scale_0 * scale_1;
}

}  // namespace ditmoe::kernels
