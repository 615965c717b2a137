#pragma once

#include <cstddef>
#include <cstdint>

#include "ditmoe/base/dtype.h"
#include "ditmoe/base/error.h"
#include "ditmoe/kernels/precision.h"
#include "ditmoe/kernels/row_kernels.h"

namespace ditmoe::kernels {

// Bytes of one activation as products of a precision take it.
inline int64_t activation_bytes(Precision precision) {
  return precision == Precision::kF32 ? 4 : precision == Precision::kBf16 ? 2 : 1;
}

// Rows of activations in the type that products of a precision take: float, BFloat16, or 8 bits
// with a scale per row. Points to memory of somebody else.
struct Activations {
  Precision precision = Precision::kF32;
  int64_t width = 0;
  std::byte* values = nullptr;
  float* scale = nullptr;  // [rows] of int8

  int64_t row_bytes() const { return width * activation_bytes(precision); }

  std::byte* row(int64_t index) const { return values + index * row_bytes(); }

  // The rows from `first` on.
  Activations from(int64_t first) const {
    return {precision, width, row(first), scale != nullptr ? scale + first : nullptr};
  }

  // Rounds one row of floats into row `index`.
  void store(const RowKernels& kernels, const float* src, int64_t index) const {
    std::byte* dst = row(index);
    switch (precision) {
      case Precision::kF32:
        for (int64_t i = 0; i < width; ++i) reinterpret_cast<float*>(dst)[i] = src[i];
        return;
      case Precision::kBf16:
        return kernels.to_bf16(src, width, reinterpret_cast<base::BFloat16*>(dst));
      case Precision::kInt8:
        scale[index] = kernels.quantize(src, width, reinterpret_cast<uint8_t*>(dst));
    }
  }
};

}  // namespace ditmoe::kernels
