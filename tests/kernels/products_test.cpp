#include "ditmoe/kernels/products.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/quantize_weights.h"
#include "ditmoe/kernels/ref/gelu_tanh.h"
#include "ditmoe/kernels/ref/matmul.h"
#include "ditmoe/kernels/ref/swiglu.h"

#include "tests/support/arrays.h"
#include "tests/support/isa.h"

namespace ditmoe::kernels {
namespace {

using base::BFloat16;
using tests::close;
using tests::normal_values;

constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kBf16, Precision::kInt8};

// Against products of the same rounded numbers what is left is the order of additions in f32.
constexpr double kSumError = 1e-5;

// Where results are bfloat16: half a step of its 8 significant bits besides.
constexpr double kBf16Error = 1.02 / 256;

constexpr float kUntouched = -7.0f;

// Rows of activations in memory of their own.
struct Rows {
  Rows(Precision precision, int64_t rows, int64_t width)
      : memory(base::DType::kU8, {rows * width * activation_bytes(precision)}),
        scale(static_cast<size_t>(rows)),
        view{precision, width, memory.data(), scale.data()} {}

  // Of floats, all rows the same, as for results that are to be left alone.
  static Rows filled(Precision precision, int64_t rows, int64_t width, float value) {
    Rows result(precision, rows, width);
    const std::vector<float> row(static_cast<size_t>(width), value);
    for (int64_t r = 0; r < rows; ++r) {
      result.view.store(row_kernels(base::Isa::kAvx2), row.data(), r);
    }
    return result;
  }

  // The numbers that row r stands for.
  std::vector<float> numbers(int64_t r) const {
    const auto width = static_cast<size_t>(view.width);
    if (view.precision == Precision::kF32) {
      const auto* row = reinterpret_cast<const float*>(view.row(r));
      return {row, row + width};
    }
    if (view.precision == Precision::kBf16) {
      return tests::widened({reinterpret_cast<const BFloat16*>(view.row(r)), width});
    }
    std::vector<float> values;
    for (size_t i = 0; i < width; ++i) {
      const int value = static_cast<int>(view.row(r)[i]) - 128;
      values.push_back(scale[static_cast<size_t>(r)] * static_cast<float>(value));
    }
    return values;
  }

  base::Tensor memory;
  std::vector<float> scale;
  Activations view;
};

// The numbers that weights stand for once they are stored in a precision.
std::vector<float> as_stored(std::vector<float> weight,
                             int64_t outputs,
                             int64_t inputs,
                             Precision precision) {
  if (precision == Precision::kBf16) {
    for (float& value : weight) value = base::to_float(base::to_bfloat16(value));
  }
  if (precision == Precision::kInt8) {
    std::vector<int8_t> values(weight.size());
    std::vector<float> scale(static_cast<size_t>(outputs));
    std::vector<int32_t> offset(static_cast<size_t>(outputs));
    quantize_weights(weight.data(), outputs, inputs, values.data(), scale.data(), offset.data());
    for (size_t i = 0; i < weight.size(); ++i) {
      weight[i] = scale[i / static_cast<size_t>(inputs)] * static_cast<float>(values[i]);
    }
  }
  return weight;
}

// One layer in one precision, rows to put through it, and what they should give.
struct Layer {
  Layer(Precision precision, base::Isa isa, int64_t rows, int64_t inputs, int64_t outputs, bool b)
      : products(1, precision, isa),
        x(products.computed(), rows, inputs),
        wide(static_cast<size_t>(rows * outputs)),
        expected(static_cast<size_t>(rows * outputs)) {
    const std::vector<float> weight = normal_values(outputs * inputs, 1, 0.3f);
    const std::vector<float> bias = normal_values(outputs, 2);
    const float* biases = b ? bias.data() : nullptr;
    w = products.matmul().pack(
        {base::DType::kF32, {outputs, inputs}, reinterpret_cast<const std::byte*>(weight.data())},
        biases,
        precision,
        arena);
    const std::vector<float> values = normal_values(rows * inputs, 3);
    for (int64_t r = 0; r < rows; ++r) x.view.store(products.rows(), &values[r * inputs], r);
    const std::vector<float> stored = as_stored(weight, outputs, inputs, precision);
    for (int64_t r = 0; r < rows; ++r) {
      const std::vector<float> row = x.numbers(r);
      ref::matmul(row.data(), 1, stored.data(), biases, outputs, inputs, &expected[r * outputs]);
    }
  }

  // What hidden layers are stored in.
  Precision hidden_type() const {
    return products.computed() == Precision::kF32 ? Precision::kF32 : Precision::kBf16;
  }

  double hidden_error() const { return hidden_type() == Precision::kF32 ? kSumError : kBf16Error; }

  base::Arena arena{size_t{2} << 20};
  Products products;
  PackedMatrix w;
  Rows x;
  std::vector<int32_t> wide;
  std::vector<float> expected;
};

struct Shape {
  int64_t rows;
  int64_t inputs;
  int64_t outputs;
};

// Outputs are even, to be gate and up. More rows than a tile holds are among them.
constexpr Shape kShapes[] = {{1, 1, 2}, {3, 33, 18}, {17, 100, 66}, {200, 36, 108}, {5, 401, 384}};

std::string name_of(Precision precision, const Shape& s) {
  return std::string(to_word(precision)) + " " + std::to_string(s.rows) + " x " +
         std::to_string(s.inputs) + " x " + std::to_string(s.outputs);
}

class ProductsTest : public tests::IsaTest {};

INSTANTIATE_TEST_SUITE_P(Isa, ProductsTest, tests::isa_levels(), tests::isa_level_name);

TEST_P(ProductsTest, ComputesInWhatTheInstructionSetHas) {
  using base::Isa;
  const auto computed = [](Precision precision) {
    return Products(1, precision, GetParam()).computed();
  };
  EXPECT_EQ(computed(Precision::kF32), Precision::kF32);
  EXPECT_EQ(computed(Precision::kBf16),
            GetParam() >= Isa::kAvx512Bf16 ? Precision::kBf16 : Precision::kF32);
  EXPECT_EQ(computed(Precision::kInt8),
            GetParam() >= Isa::kAvx512Vnni ? Precision::kInt8 : Precision::kF32);
  EXPECT_EQ(Products(1, Precision::kInt8, GetParam()).precision(), Precision::kInt8);
}

TEST_P(ProductsTest, LinearMatchesItsDefinition) {
  for (const Precision precision : kPrecisions) {
    for (const Shape& s : kShapes) {
      for (const bool bias : {false, true}) {
        Layer layer(precision, GetParam(), s.rows, s.inputs, s.outputs, bias);
        std::vector<float> y(layer.expected.size());
        layer.products.linear(layer.x.view, s.rows, layer.w, layer.wide.data(), y.data(), 0);
        EXPECT_TRUE(close(y, layer.expected, kSumError)) << name_of(precision, s) << " " << bias;
      }
    }
  }
}

TEST_P(ProductsTest, LinearInF32IsSoBesideOtherPrecisions) {
  Layer f32(Precision::kF32, GetParam(), 17, 33, 18, true);
  std::vector<float> y(f32.expected.size());
  const auto* x = reinterpret_cast<const float*>(f32.x.view.values);
  f32.products.linear_f32(x, 17, f32.w, y.data(), 0);
  EXPECT_TRUE(close(y, f32.expected, kSumError));
}

TEST_P(ProductsTest, LinearToBf16MatchesItsDefinitionAndKeepsToItsColumns) {
  for (const Precision precision : kPrecisions) {
    for (const Shape& s : kShapes) {
      Layer layer(precision, GetParam(), s.rows, s.inputs, s.outputs, true);
      const int64_t stride = s.outputs + 3;
      const Rows y = Rows::filled(Precision::kBf16, s.rows, stride, kUntouched);
      layer.products.linear_bf16(layer.x.view,
                                 s.rows,
                                 layer.w,
                                 layer.wide.data(),
                                 reinterpret_cast<BFloat16*>(y.view.values) + 1,
                                 stride,
                                 0);
      std::vector<float> inside;
      for (int64_t r = 0; r < s.rows; ++r) {
        const std::vector<float> row = y.numbers(r);
        inside.insert(inside.end(), row.begin() + 1, row.end() - 2);
        EXPECT_EQ(row.front(), kUntouched) << name_of(precision, s);
        EXPECT_EQ(row.end()[-2], kUntouched) << name_of(precision, s);
      }
      EXPECT_TRUE(close(inside, layer.expected, kBf16Error)) << name_of(precision, s);
    }
  }
}

// Columns [column, column + width) of hidden rows against what they should be; the others are to be
// as they were.
void expect_columns(const Rows& hidden,
                    int64_t rows,
                    int64_t column,
                    int64_t width,
                    const std::vector<float>& expected,
                    double tolerance) {
  std::vector<float> inside;
  for (int64_t r = 0; r < rows; ++r) {
    const std::vector<float> row = hidden.numbers(r);
    inside.insert(inside.end(), row.begin() + column, row.begin() + column + width);
    for (int64_t i = 0; i < hidden.view.width; ++i) {
      if (i < column || i >= column + width) {
        EXPECT_EQ(row[i], kUntouched) << i << " of " << r;
      }
    }
  }
  EXPECT_TRUE(close(inside, expected, tolerance));
}

TEST_P(ProductsTest, SwigluMatchesItsDefinitionAndKeepsToItsColumns) {
  for (const Precision precision : kPrecisions) {
    for (const Shape& s : kShapes) {
      SCOPED_TRACE(name_of(precision, s));
      Layer layer(precision, GetParam(), s.rows, s.inputs, s.outputs, false);
      const int64_t width = s.outputs / 2;
      std::vector<float> expected(static_cast<size_t>(s.rows * width));
      ref::swiglu(layer.expected.data(), s.rows, width, expected.data(), width);
      const Rows hidden = Rows::filled(layer.hidden_type(), s.rows, width + 5, kUntouched);
      layer.products.swiglu(layer.x.view, s.rows, layer.w, layer.wide.data(), hidden.view, 2, 0);
      expect_columns(hidden, s.rows, 2, width, expected, layer.hidden_error());
    }
  }
}

TEST_P(ProductsTest, GeluMatchesItsDefinitionAndKeepsToItsColumns) {
  for (const Precision precision : kPrecisions) {
    for (const Shape& s : kShapes) {
      SCOPED_TRACE(name_of(precision, s));
      Layer layer(precision, GetParam(), s.rows, s.inputs, s.outputs, true);
      std::vector<float> expected = layer.expected;
      ref::gelu_tanh(expected.data(), static_cast<int64_t>(expected.size()), expected.data());
      const Rows hidden = Rows::filled(layer.hidden_type(), s.rows, s.outputs + 5, kUntouched);
      layer.products.gelu(layer.x.view, s.rows, layer.w, layer.wide.data(), hidden.view, 3, 0);
      expect_columns(hidden, s.rows, 3, s.outputs, expected, layer.hidden_error());
    }
  }
}

TEST_P(ProductsTest, RowsAreTheSameBitsWhateverTheNumberOfRows) {
  constexpr int64_t kRows = 100;
  constexpr int64_t kOutputs = 66;
  for (const Precision precision : kPrecisions) {
    Layer layer(precision, GetParam(), kRows, 384, kOutputs, true);
    std::vector<float> all(kRows * kOutputs);
    layer.products.linear(layer.x.view, kRows, layer.w, layer.wide.data(), all.data(), 0);
    for (const int64_t rows : {0, 1, 2, 7, 16, 31, 64, 99}) {
      std::vector<float> some(static_cast<size_t>(rows * kOutputs));
      const Activations last = layer.x.view.from(kRows - rows);
      layer.products.linear(last, rows, layer.w, layer.wide.data(), some.data(), 0);
      EXPECT_TRUE(std::equal(some.begin(), some.end(), all.end() - rows * kOutputs))
          << to_word(precision) << " " << rows;
    }
  }
}

TEST_P(ProductsTest, WeightsGivenInBf16AreThoseOfTheirValues) {
  constexpr int64_t kOutputs = 18;
  constexpr int64_t kInputs = 33;
  const base::Tensor narrow = base::convert(
      base::Tensor::from({kOutputs, kInputs}, normal_values(kOutputs * kInputs, 1)).view(),
      base::DType::kBF16);
  const base::Tensor wide = base::convert(narrow.view(), base::DType::kF32);
  for (const Precision precision : kPrecisions) {
    Products products(1, precision, GetParam());
    base::Arena arena(size_t{2} << 20);
    Rows x(products.computed(), 1, kInputs);
    x.view.store(products.rows(), normal_values(kInputs, 2).data(), 0);
    std::vector<std::vector<float>> results;
    for (const base::Tensor* weight : {&narrow, &wide}) {
      const PackedMatrix w = products.matmul().pack(weight->view(), nullptr, precision, arena);
      std::vector<int32_t> sums(kOutputs);
      results.emplace_back(kOutputs);
      products.linear(x.view, 1, w, sums.data(), results.back().data(), 0);
    }
    EXPECT_EQ(results[0], results[1]) << to_word(precision);
  }
}

}  // namespace
}  // namespace ditmoe::kernels
