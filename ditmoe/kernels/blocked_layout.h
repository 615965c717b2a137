#pragma once

#include <cstddef>
#include <cstdint>

#include "ditmoe/base/tensor.h"
#include "ditmoe/kernels/precision.h"
#include "ditmoe/kernels/quantize_weights.h"

namespace ditmoe::kernels {

// The layout in which packed weights are stored in files: oneDNN's tags BA16a64b (f32), BA16a64b2a
// (bf16) and BA16a64b4a (int8) of the matrix W^T [inputs, outputs], which is what its AVX-512 code
// multiplies by, so that a mapped file needs no repacking. Blocks of 64 outputs; within them blocks
// of 16·v inputs, v = 1, 2, 4; within them [16][64][v]. Padded with zeros.

// "BA16a64b" and so on.
const char* blocked_layout_name(Precision precision);

// A multiple of 4096.
size_t blocked_bytes(int64_t outputs, int64_t inputs, Precision precision);

// Packs W [outputs, inputs] of float, BFloat16 or int8_t, as precision says.
void pack_blocked(
    const void* weight, int64_t outputs, int64_t inputs, Precision precision, std::byte* dst);

// The inverse.
void unpack_blocked(
    const std::byte* src, int64_t outputs, int64_t inputs, Precision precision, void* weight);

// Rounds W [outputs, inputs], of F32 or BF16, to a precision and packs it.
void block_weights(const base::TensorView& weight,
                   Precision precision,
                   const QuantizedWeights& quantized,
                   std::byte* dst);

}  // namespace ditmoe::kernels
