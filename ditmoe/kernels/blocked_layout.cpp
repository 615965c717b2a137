#include "ditmoe/kernels/blocked_layout.h"

#include <algorithm>
#include <cstring>

#include "ditmoe/base/dtype.h"
#include "ditmoe/base/error.h"
#include "ditmoe/kernels/activations.h"
#include "ditmoe/kernels/quantize_weights.h"

namespace ditmoe::kernels {
namespace {

constexpr int64_t kColumns = 64;  // outputs of a block
constexpr int64_t kRows = 16;

// Inputs that stand side by side, as one instruction multiplies them: 4 bytes.
int64_t inputs_together(Precision precision) { return 4 / activation_bytes(precision); }

int64_t blocks(int64_t count, int64_t size) { return (count + size - 1) / size; }

// Calls visit(first output, outputs, first input, inputs) of each block in the order of the layout.
template <typename Visit>
void for_each_block(int64_t outputs, int64_t inputs, int64_t deep, const Visit& visit) {
  for (int64_t out = 0; out < outputs; out += kColumns) {
    for (int64_t in = 0; in < inputs; in += deep) {
      visit(out, std::min(kColumns, outputs - out), in, std::min(deep, inputs - in));
    }
  }
}

// Place of output n and input k within a block.
template <int64_t kTogether>
int64_t place(int64_t n, int64_t k) {
  return (k / kTogether * kColumns + n) * kTogether + k % kTogether;
}

template <typename T, int64_t kTogether>
void pack(const T* weight, int64_t outputs, int64_t inputs, T* dst) {
  constexpr int64_t kDeep = kRows * kTogether;
  for_each_block(
      outputs, inputs, kDeep, [&](int64_t out, int64_t columns, int64_t in, int64_t rows) {
        for (int64_t n = 0; n < columns; ++n) {
          const T* src = weight + (out + n) * inputs + in;
          for (int64_t k = 0; k < rows; ++k) dst[place<kTogether>(n, k)] = src[k];
        }
        dst += kDeep * kColumns;
      });
}

template <typename T, int64_t kTogether>
void unpack(const T* src, int64_t outputs, int64_t inputs, T* weight) {
  constexpr int64_t kDeep = kRows * kTogether;
  for_each_block(
      outputs, inputs, kDeep, [&](int64_t out, int64_t columns, int64_t in, int64_t rows) {
        for (int64_t n = 0; n < columns; ++n) {
          T* dst = weight + (out + n) * inputs + in;
          for (int64_t k = 0; k < rows; ++k) dst[k] = src[place<kTogether>(n, k)];
        }
        src += kDeep * kColumns;
      });
}

}  // namespace

const char* blocked_layout_name(Precision precision) {
  switch (precision) {
    case Precision::kF32:
      return "BA16a64b";
    case Precision::kBf16:
      return "BA16a64b2a";
    case Precision::kInt8:
      return "BA16a64b4a";
  }
  DITMOE_ASSERT(false);
}

size_t blocked_bytes(int64_t outputs, int64_t inputs, Precision precision) {
  const int64_t deep = kRows * inputs_together(precision);
  return static_cast<size_t>(blocks(outputs, kColumns) * kColumns * blocks(inputs, deep) * deep *
                             activation_bytes(precision));
}

void pack_blocked(
    const void* weight, int64_t outputs, int64_t inputs, Precision precision, std::byte* dst) {
  std::memset(dst, 0, blocked_bytes(outputs, inputs, precision));
  switch (precision) {
    case Precision::kF32:
      return pack<float, 1>(
          static_cast<const float*>(weight), outputs, inputs, reinterpret_cast<float*>(dst));
    case Precision::kBf16:
      return pack<base::BFloat16, 2>(static_cast<const base::BFloat16*>(weight),
                                     outputs,
                                     inputs,
                                     reinterpret_cast<base::BFloat16*>(dst));
    case Precision::kInt8:
      return pack<int8_t, 4>(
          static_cast<const int8_t*>(weight), outputs, inputs, reinterpret_cast<int8_t*>(dst));
  }
}

void unpack_blocked(
    const std::byte* src, int64_t outputs, int64_t inputs, Precision precision, void* weight) {
  switch (precision) {
    case Precision::kF32:
      return unpack<float, 1>(
          reinterpret_cast<const float*>(src), outputs, inputs, static_cast<float*>(weight));
    case Precision::kBf16:
      return unpack<base::BFloat16, 2>(reinterpret_cast<const base::BFloat16*>(src),
                                       outputs,
                                       inputs,
                                       static_cast<base::BFloat16*>(weight));
    case Precision::kInt8:
      return unpack<int8_t, 4>(
          reinterpret_cast<const int8_t*>(src), outputs, inputs, static_cast<int8_t*>(weight));
  }
}

void block_weights(const base::TensorView& weight,
                   Precision precision,
                   const QuantizedWeights& quantized,
                   std::byte* dst) {
  const int64_t outputs = weight.shape.at(0);
  const RoundedWeights rounded = round_weights(weight, precision, quantized);
  pack_blocked(rounded.data, outputs, weight.size() / outputs, precision, dst);
}

}  // namespace ditmoe::kernels
