#pragma once

#include <cstdint>

namespace ditmoe::kernels {

// dst[r, i] = silu(src[r, i]) · src[r, width + i] (SwiGLU, Shazeer, arXiv 2002.05202).
//   src [rows, 2·width]  gate | up, as one product with both weights leaves them
//   dst [rows, width]    row r starts at r · dst_stride, dst_stride >= width; does not alias src
void swiglu(const float* src, int64_t rows, int64_t width, float* dst, int64_t dst_stride);

}  // namespace ditmoe::kernels
