#include "ditmoe/kernels/ref/bfloat16.h"

#include <cmath>

namespace ditmoe::kernels::ref {
namespace {

// The magnitude of a bfloat16 without sign; 2^128 in place of infinity, as if its exponent went on.
double magnitude(uint16_t bits) {
  const int exponent = bits >> 7;
  const double fraction = (bits & 0x7f) / 128.0;
  return exponent == 0 ? std::ldexp(fraction, -126) : std::ldexp(1.0 + fraction, exponent - 127);
}

uint16_t nearest(float value) {
  if (std::isnan(value)) return 0x7fc0;
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double size = std::abs(static_cast<double>(value));
  if (std::isinf(size)) return sign | 0x7f80;
  // Bits without sign are in the order of the values: find the last that is not above.
  uint16_t below = 0;
  for (uint16_t step = 0x4000; step > 0; step /= 2) {
    const uint16_t next = below + step;
    if (next < 0x7f80 && magnitude(next) <= size) below = next;
  }
  const uint16_t above = below + 1;
  const double down = size - magnitude(below);
  const double up = magnitude(above) - size;
  const bool rounds_up = up < down || (up == down && below % 2 == 1);
  return sign | (rounds_up ? above : below);
}

}  // namespace

void to_bf16(const float* src, int64_t count, base::BFloat16* dst) {
  for (int64_t i = 0; i < count; ++i) dst[i].bits = nearest(src[i]);
}

}  // namespace ditmoe::kernels::ref
