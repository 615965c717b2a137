#include "ditmoe/kernels/panel_matmul.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <immintrin.h>

#include "ditmoe/base/error.h"
#include "ditmoe/kernels/bfloat16.h"

namespace ditmoe::kernels {
namespace {

// 6 rows x 2 registers of sums leave 4 of the 16 AVX2 registers for the panel and a broadcast.
constexpr int kBlockRows = 6;

using Columns = std::array<float, kPanelColumns>;

// One panel's columns of kRows rows; y is [kRows, kPanelColumns].
template <int kRows>
void multiply_block(
    const float* x, int64_t inputs, const float* panel, const Columns& bias, float* y) {
  __m256 sums[kRows][2];
  for (int row = 0; row < kRows; ++row) {
    sums[row][0] = _mm256_loadu_ps(bias.data());
    sums[row][1] = _mm256_loadu_ps(bias.data() + 8);
  }
  for (int64_t k = 0; k < inputs; ++k) {
    const __m256 left = _mm256_loadu_ps(panel + k * kPanelColumns);
    const __m256 right = _mm256_loadu_ps(panel + k * kPanelColumns + 8);
    for (int row = 0; row < kRows; ++row) {
      const __m256 value = _mm256_broadcast_ss(x + row * inputs + k);
      sums[row][0] = _mm256_fmadd_ps(value, left, sums[row][0]);
      sums[row][1] = _mm256_fmadd_ps(value, right, sums[row][1]);
    }
  }
  for (int row = 0; row < kRows; ++row) {
    _mm256_storeu_ps(y + row * kPanelColumns, sums[row][0]);
    _mm256_storeu_ps(y + row * kPanelColumns + 8, sums[row][1]);
  }
}

using Block = void (*)(const float*, int64_t, const float*, const Columns&, float*);

// By number of rows, from one.
constexpr Block kBlocks[kBlockRows] = {multiply_block<1>,
                                       multiply_block<2>,
                                       multiply_block<3>,
                                       multiply_block<4>,
                                       multiply_block<5>,
                                       multiply_block<6>};

size_t element_size(Precision precision) {
  switch (precision) {
    case Precision::kF32:
      return sizeof(float);
    case Precision::kBf16:
      return sizeof(base::BFloat16);
    case Precision::kInt8:
      return sizeof(int8_t);
  }
  DITMOE_ASSERT(false);
}

template <typename T>
void pack(const T* weight, int64_t outputs, int64_t inputs, T* dst) {
  for (int64_t out = 0; out < outputs; ++out) {
    T* column = dst + out / kPanelColumns * inputs * kPanelColumns + out % kPanelColumns;
    for (int64_t k = 0; k < inputs; ++k) column[k * kPanelColumns] = weight[out * inputs + k];
  }
}

// The panel that begins with output `first`, as f32: in place or widened into workspace.
const float* widened_panel(const Panels& panels, int64_t first, float* workspace) {
  const int64_t count = panels.inputs * kPanelColumns;
  const std::byte* data =
      panels.data + static_cast<size_t>(first * panels.inputs) * element_size(panels.precision);
  if (panels.precision == Precision::kF32) return reinterpret_cast<const float*>(data);
  if (panels.precision == Precision::kBf16) {
    const auto* values = reinterpret_cast<const base::BFloat16*>(data);
    for (int64_t i = 0; i < count; ++i) workspace[i] = widen(values[i]);
    return workspace;
  }
  Columns scale = {};
  std::copy_n(panels.scale + first, std::min(kPanelColumns, panels.outputs - first), scale.begin());
  const auto* values = reinterpret_cast<const int8_t*>(data);
  for (int64_t k = 0; k < panels.inputs; ++k) {
    for (int64_t column = 0; column < kPanelColumns; ++column) {
      const int64_t i = k * kPanelColumns + column;
      workspace[i] = scale[column] * static_cast<float>(values[i]);
    }
  }
  return workspace;
}

}  // namespace

size_t panel_bytes(int64_t outputs, int64_t inputs, Precision precision) {
  const int64_t count = (outputs + kPanelColumns - 1) / kPanelColumns;
  return static_cast<size_t>(count * inputs * kPanelColumns) * element_size(precision);
}

void pack_panels(
    const void* weight, int64_t outputs, int64_t inputs, Precision precision, std::byte* dst) {
  std::memset(dst, 0, panel_bytes(outputs, inputs, precision));
  switch (precision) {
    case Precision::kF32:
      return pack(
          static_cast<const float*>(weight), outputs, inputs, reinterpret_cast<float*>(dst));
    case Precision::kBf16:
      return pack(static_cast<const base::BFloat16*>(weight),
                  outputs,
                  inputs,
                  reinterpret_cast<base::BFloat16*>(dst));
    case Precision::kInt8:
      return pack(
          static_cast<const int8_t*>(weight), outputs, inputs, reinterpret_cast<int8_t*>(dst));
  }
}

void panel_matmul(const float* x,
                  int64_t rows,
                  const Panels& panels,
                  const float* bias,
                  float* workspace,
                  float* y) {
  const int64_t inputs = panels.inputs;
  std::array<float, kBlockRows * kPanelColumns> block;
  for (int64_t first = 0; first < panels.outputs; first += kPanelColumns) {
    const float* panel = widened_panel(panels, first, workspace);
    const int64_t columns = std::min(kPanelColumns, panels.outputs - first);
    Columns panel_bias = {};
    if (bias != nullptr) std::copy_n(bias + first, columns, panel_bias.begin());
    for (int64_t row = 0; row < rows; row += kBlockRows) {
      const int64_t height = std::min<int64_t>(kBlockRows, rows - row);
      kBlocks[height - 1](x + row * inputs, inputs, panel, panel_bias, block.data());
      for (int64_t r = 0; r < height; ++r) {
        std::memcpy(y + (row + r) * panels.outputs + first,
                    block.data() + r * kPanelColumns,
                    static_cast<size_t>(columns) * sizeof(float));
      }
    }
  }
}

}  // namespace ditmoe::kernels
