#include "ditmoe/kernels/panel_matmul.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <immintrin.h>

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

}  // namespace

base::Tensor pack_panels(const float* weight, int64_t outputs, int64_t inputs) {
  const int64_t count = (outputs + kPanelColumns - 1) / kPanelColumns;
  base::Tensor panels(base::DType::kF32, {count, inputs, kPanelColumns});
  float* dst = panels.as<float>().data();
  for (int64_t out = 0; out < outputs; ++out) {
    float* column = dst + out / kPanelColumns * inputs * kPanelColumns + out % kPanelColumns;
    for (int64_t k = 0; k < inputs; ++k) {
      column[k * kPanelColumns] = weight[out * inputs + k];
    }
  }
  return panels;
}

void panel_matmul(const float* x,
                  int64_t rows,
                  const base::Tensor& panels,
                  const float* bias,
                  int64_t outputs,
                  float* y) {
  const int64_t inputs = panels.dim(1);
  std::array<float, kBlockRows * kPanelColumns> block;
  for (int64_t first = 0; first < outputs; first += kPanelColumns) {
    const float* panel = panels.as<float>().data() + first * inputs;
    const int64_t columns = std::min(kPanelColumns, outputs - first);
    Columns panel_bias = {};
    if (bias != nullptr) {
      std::copy_n(bias + first, columns, panel_bias.begin());
    }
    for (int64_t row = 0; row < rows; row += kBlockRows) {
      const int64_t height = std::min<int64_t>(kBlockRows, rows - row);
      kBlocks[height - 1](x + row * inputs, inputs, panel, panel_bias, block.data());
      for (int64_t r = 0; r < height; ++r) {
        std::memcpy(y + (row + r) * outputs + first,
                    block.data() + r * kPanelColumns,
                    static_cast<size_t>(columns) * sizeof(float));
      }
    }
  }
}

}  // namespace ditmoe::kernels
