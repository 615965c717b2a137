#include "ditmoe/kernels/panel_matmul.h"

#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/matmul.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

using tests::normal_values;

// f32 weights as panels.
struct Packed {
  Packed(const std::vector<float>& weight, int64_t outputs, int64_t inputs)
      : data(panel_bytes(outputs, inputs, Precision::kF32)),
        panels{data.data(), nullptr, Precision::kF32, inputs, outputs} {
    pack_panels(weight.data(), outputs, inputs, Precision::kF32, data.data());
  }

  std::vector<std::byte> data;
  Panels panels;
};

TEST(PanelMatmulTest, MatchesItsDefinition) {
  for (const int64_t inputs : {1, 31, 384}) {
    for (const int64_t outputs : {1, 15, 16, 17, 100}) {
      const std::vector<float> weight = normal_values(outputs * inputs, 1);
      const std::vector<float> bias = normal_values(outputs, 2);
      const Packed packed(weight, outputs, inputs);
      for (const int64_t rows : {1, 5, 6, 13}) {
        for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
          const std::vector<float> x = normal_values(rows * inputs, 3);
          std::vector<float> y(static_cast<size_t>(rows * outputs));
          std::vector<float> expected(y.size());
          ref::matmul(x.data(), rows, weight.data(), b, outputs, inputs, expected.data());
          panel_matmul(x.data(), rows, packed.panels, b, nullptr, y.data());
          EXPECT_TRUE(tests::close(y, expected, 1e-5)) << rows << "x" << inputs << "x" << outputs;
        }
      }
    }
  }
}

TEST(PanelMatmulTest, RowsAreTheSameBitsWhateverTheNumberOfRows) {
  constexpr int64_t kInputs = 100;
  constexpr int64_t kOutputs = 40;
  constexpr int64_t kRows = 25;
  const std::vector<float> weight = normal_values(kOutputs * kInputs, 1);
  const std::vector<float> x = normal_values(kRows * kInputs, 2);
  const Packed packed(weight, kOutputs, kInputs);
  std::vector<float> all(kRows * kOutputs);
  panel_matmul(x.data(), kRows, packed.panels, nullptr, nullptr, all.data());
  for (int64_t rows = 1; rows < kRows; ++rows) {
    std::vector<float> some(static_cast<size_t>(rows * kOutputs));
    const int64_t first = kRows - rows;
    panel_matmul(x.data() + first * kInputs, rows, packed.panels, nullptr, nullptr, some.data());
    EXPECT_EQ(some, std::vector<float>(all.begin() + first * kOutputs, all.end())) << rows;
  }
}

// Panels of fewer bits multiply exactly as the f32 numbers they stand for.
TEST(PanelMatmulTest, NarrowPanelsGiveTheBitsOfTheirValues) {
  constexpr int64_t kInputs = 31;
  constexpr int64_t kRows = 7;
  for (const int64_t outputs : {1, 15, 16, 17, 100}) {
    const std::vector<float> x = normal_values(kRows * kInputs, 1);
    const std::vector<float> bias = normal_values(outputs, 2);
    const auto product = [&](const Panels& panels) {
      std::vector<float> workspace(kInputs * kPanelColumns);
      std::vector<float> y(static_cast<size_t>(kRows * outputs));
      panel_matmul(x.data(), kRows, panels, bias.data(), workspace.data(), y.data());
      return y;
    };

    const std::vector<float> weight = normal_values(outputs * kInputs, 3);
    std::vector<base::BFloat16> narrow;
    for (const float value : weight) narrow.push_back(base::to_bfloat16(value));
    std::vector<std::byte> data(panel_bytes(outputs, kInputs, Precision::kBf16));
    pack_panels(narrow.data(), outputs, kInputs, Precision::kBf16, data.data());
    const Packed bf16(tests::widened(narrow), outputs, kInputs);
    EXPECT_EQ(product({data.data(), nullptr, Precision::kBf16, kInputs, outputs}),
              product(bf16.panels))
        << outputs;

    const std::vector<float> scale = normal_values(outputs, 4);
    std::vector<int8_t> quantized;
    std::vector<float> wide;
    for (size_t i = 0; i < weight.size(); ++i) {
      quantized.push_back(static_cast<int8_t>(static_cast<int>(i * 37 % 255) - 127));
      wide.push_back(scale[i / kInputs] * static_cast<float>(quantized.back()));
    }
    data.resize(panel_bytes(outputs, kInputs, Precision::kInt8));
    pack_panels(quantized.data(), outputs, kInputs, Precision::kInt8, data.data());
    const Packed int8(wide, outputs, kInputs);
    EXPECT_EQ(product({data.data(), scale.data(), Precision::kInt8, kInputs, outputs}),
              product(int8.panels))
        << outputs;
  }
}

TEST(PanelMatmulTest, BytesAreThoseOfWholePanels) {
  EXPECT_EQ(panel_bytes(1, 10, Precision::kF32), 10U * 16 * 4);
  EXPECT_EQ(panel_bytes(16, 10, Precision::kBf16), 10U * 16 * 2);
  EXPECT_EQ(panel_bytes(17, 10, Precision::kInt8), 2U * 10 * 16);
}

}  // namespace
}  // namespace ditmoe::kernels
