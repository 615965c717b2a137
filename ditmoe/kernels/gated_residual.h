#pragma once

#include <cstdint>

namespace ditmoe::kernels {

// x[r, i] += gate[i] · src[r, i]: what adaLN-zero adds after attention and after the feed-forward
// (Peebles and Xie, arXiv 2212.09748).
//   src, x [rows, width], gate [width]; x aliases neither
void gated_residual(const float* src, const float* gate, int64_t rows, int64_t width, float* x);

}  // namespace ditmoe::kernels
