#pragma once

#include <bit>
#include <cstdint>

#include "ditmoe/base/dtype.h"

namespace ditmoe::kernels {

// Conversions as base/dtype.h has them, inline and free of branches so that loops vectorise.

[[gnu::always_inline]] inline float widen(base::BFloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

// To nearest, ties to even; every NaN becomes the quiet one.
[[gnu::always_inline]] inline base::BFloat16 narrow(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const uint32_t result = value != value ? 0x7fc0 : rounded;
  return {static_cast<uint16_t>(result)};
}

}  // namespace ditmoe::kernels
