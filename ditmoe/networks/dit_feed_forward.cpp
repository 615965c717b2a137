#include "ditmoe/networks/dit_feed_forward.h"

namespace ditmoe::networks {
namespace {

using kernels::Activations;
using kernels::Precision;

// The scratch's hidden rows, so wide as these weights need them.
Activations hidden_rows(const DitScratch& scratch, int64_t width) {
  Activations hidden = scratch.hidden;
  hidden.width = width;
  return hidden;
}

// The last product, of hidden rows in the type that products take.
void project(const kernels::Products& products,
             const kernels::PackedMatrix& w,
             const Activations& hidden,
             int64_t rows,
             DitScratch& scratch,
             float* y,
             int thread) {
  auto* sums = static_cast<int32_t*>(scratch.wide);
  if (products.computed() != Precision::kInt8) {
    products.linear(hidden, rows, w, sums, y, thread);
    return;
  }
  Activations quantized = scratch.hidden_int8;
  quantized.width = hidden.width;
  for (int64_t row = 0; row < rows; ++row) {
    const auto* src = reinterpret_cast<const base::BFloat16*>(hidden.row(row));
    auto* dst = reinterpret_cast<uint8_t*>(quantized.row(row));
    quantized.scale[row] = products.rows().quantize_bf16(src, hidden.width, dst);
  }
  products.linear(quantized, rows, w, sums, y, thread);
}

}  // namespace

void swiglu_rows(const kernels::Products& products,
                 const SwigluWeights& weights,
                 const Activations& x,
                 int64_t rows,
                 DitScratch& scratch,
                 float* y,
                 int thread,
                 Lap& lap) {
  const Activations hidden = hidden_rows(scratch, weights.down.inputs());
  int64_t column = 0;
  for (const kernels::PackedMatrix& chunk : weights.gate_up) {
    products.swiglu(x, rows, chunk, scratch.wide, hidden, column, thread);
    column += chunk.outputs() / 2;
  }
  lap.end(Op::kGateUp);
  project(products, weights.down, hidden, rows, scratch, y, thread);
  lap.end(Op::kDown);
}

void gelu_rows(const kernels::Products& products,
               const GeluWeights& weights,
               const Activations& x,
               int64_t rows,
               DitScratch& scratch,
               float* y,
               int thread,
               Lap& lap) {
  const Activations hidden = hidden_rows(scratch, weights.fc2.inputs());
  int64_t column = 0;
  for (const kernels::PackedMatrix& chunk : weights.fc1) {
    products.gelu(x, rows, chunk, scratch.wide, hidden, column, thread);
    column += chunk.outputs();
  }
  lap.end(Op::kGateUp);
  project(products, weights.fc2, hidden, rows, scratch, y, thread);
  lap.end(Op::kDown);
}

}  // namespace ditmoe::networks
