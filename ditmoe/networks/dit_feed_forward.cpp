#include "ditmoe/networks/dit_feed_forward.h"

#include "ditmoe/kernels/gelu_tanh.h"
#include "ditmoe/kernels/swiglu.h"

namespace ditmoe::networks {

void swiglu_rows(const kernels::Matmul& matmul,
                 const SwigluWeights& weights,
                 const float* x,
                 int64_t rows,
                 DitScratch& scratch,
                 float* y,
                 int thread) {
  const int64_t hidden = weights.hidden();
  int64_t first = 0;
  for (const kernels::PackedMatrix& chunk : weights.gate_up) {
    const int64_t columns = chunk.outputs() / 2;
    matmul.multiply(x, rows, chunk, scratch.gate_up.data(), thread);
    kernels::swiglu(scratch.gate_up.data(), rows, columns, scratch.hidden.data() + first, hidden);
    first += columns;
  }
  matmul.multiply(scratch.hidden.data(), rows, weights.down, y, thread);
}

void gelu_rows(const kernels::Matmul& matmul,
               const GeluWeights& weights,
               const float* x,
               int64_t rows,
               DitScratch& scratch,
               float* y,
               int thread) {
  float* hidden = scratch.hidden.data();
  const int64_t width = weights.fc1.outputs();
  matmul.multiply(x, rows, weights.fc1, hidden, thread);
  for (int64_t row = 0; row < rows; ++row) {
    // Row by row, so that an element is computed by the same code whatever the number of rows.
    kernels::gelu_tanh(hidden + row * width, width, hidden + row * width);
  }
  matmul.multiply(hidden, rows, weights.fc2, y, thread);
}

}  // namespace ditmoe::networks
