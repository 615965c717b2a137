#include "ditmoe/kernels/convolution.h"

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/group_norm.h"
#include "ditmoe/kernels/ref/convolution.h"
#include "ditmoe/kernels/ref/group_norm.h"
#include "ditmoe/kernels/ref/silu.h"

#include "tests/support/arrays.h"
#include "tests/support/isa.h"

namespace ditmoe::kernels {
namespace {

using tests::close;
using tests::normal_values;

// The order of additions in f32; half a step of bfloat16's 8 bits of every factor, of either sign.
constexpr double kF32Error = 1e-5;
constexpr double kBf16Error = 1e-2;

struct Case {
  MapShape source;
  int64_t outputs;
  int64_t kernel;
  Resampling resampling = Resampling::kNone;
  int64_t shortcut = 0;  // its inputs
  bool residual = false;
  bool affine = false;
};

// Sizes that no tile, band or register divides, maps smaller than a kernel, one large enough for
// several tiles in a row.
const Case kCases[] = {
    {{1, 1, 1}, 1, 3},
    {{1, 1, 5}, 3, 1},
    {{2, 7, 3}, 20, 3},
    {{9, 5, 17}, 33, 3, Resampling::kNone, 0, true, true},
    {{13, 11, 32}, 16, 3, Resampling::kNone, 24, false, true},
    {{6, 301, 8}, 5, 3, Resampling::kNone, 0, false, true},
    {{40, 3, 48}, 64, 1, Resampling::kNone, 0, true, false},
    {{2, 2, 4}, 6, 3, Resampling::kHalve},
    {{8, 12, 33}, 17, 3, Resampling::kHalve},
    {{7, 9, 16}, 8, 3, Resampling::kHalve, 0, false, true},
    {{1, 1, 2}, 3, 3, Resampling::kDouble},
    {{5, 3, 19}, 7, 3, Resampling::kDouble},
    {{3, 150, 32}, 48, 3, Resampling::kDouble, 0, true, true},
};

std::string describe(const Case& c) {
  return fmt::format("{}x{}x{} -> {}, kernel {}, resampling {}",
                     c.source.height,
                     c.source.width,
                     c.source.channels,
                     c.outputs,
                     c.kernel,
                     static_cast<int>(c.resampling));
}

MapShape result_shape(const Case& c) {
  if (c.resampling == Resampling::kHalve) {
    return {c.source.height / 2, c.source.width / 2, c.outputs};
  }
  const int64_t factor = c.resampling == Resampling::kDouble ? 2 : 1;
  return {factor * c.source.height, factor * c.source.width, c.outputs};
}

// Random arrays for a case, and what the definition makes of them.
struct Problem {
  explicit Problem(const Case& the_case)
      : c(the_case),
        result(result_shape(c)),
        source(normal_values(c.source.size(), 1)),
        weight(normal_values(c.outputs * c.source.channels * c.kernel * c.kernel, 2)),
        bias(normal_values(c.outputs, 3)),
        shortcut(normal_values(result.pixels() * c.shortcut, 4)),
        shortcut_weight(normal_values(c.outputs * c.shortcut, 5)),
        shortcut_bias(normal_values(c.outputs, 6)),
        residual(normal_values(result.size(), 7)),
        scale(normal_values(c.source.channels, 8)),
        shift(normal_values(c.source.channels, 9)) {}

  std::vector<float> expected() const {
    std::vector<float> map = source;
    if (c.affine) {
      for (size_t i = 0; i < map.size(); ++i) {
        const size_t channel = i % scale.size();
        map[i] = map[i] * scale[channel] + shift[channel];
      }
      ref::silu(map.data(), static_cast<int64_t>(map.size()), map.data());
    }
    MapShape shape = c.source;
    if (c.resampling == Resampling::kDouble) {
      std::vector<float> large(4 * map.size());
      ref::enlarge_twofold(map.data(), shape, large.data());
      map = large;
      shape = {2 * shape.height, 2 * shape.width, shape.channels};
    }
    const bool halve = c.resampling == Resampling::kHalve;
    std::vector<float> values(static_cast<size_t>(result.size()));
    ref::convolution(map.data(),
                     shape,
                     weight.data(),
                     bias.data(),
                     c.kernel,
                     halve ? 2 : 1,
                     halve ? 0 : c.kernel / 2,
                     result,
                     values.data());
    if (c.residual) {
      for (size_t i = 0; i < values.size(); ++i) values[i] += residual[i];
    }
    if (c.shortcut == 0) return values;
    std::vector<float> added(values.size());
    const MapShape shape_in = {result.height, result.width, c.shortcut};
    ref::convolution(shortcut.data(),
                     shape_in,
                     shortcut_weight.data(),
                     shortcut_bias.data(),
                     1,
                     1,
                     0,
                     result,
                     added.data());
    for (size_t i = 0; i < values.size(); ++i) values[i] += added[i];
    return values;
  }

  Case c;
  MapShape result;
  std::vector<float> source, weight, bias, shortcut, shortcut_weight, shortcut_bias, residual;
  std::vector<float> scale, shift;
};

struct Computed {
  std::vector<float> values;
  std::vector<double> row_sums;
};

base::TensorView view_of(const std::vector<float>& values, base::Shape shape) {
  return {base::DType::kF32, std::move(shape), reinterpret_cast<const std::byte*>(values.data())};
}

Computed compute(const Problem& problem,
                 Precision precision,
                 base::Isa isa,
                 int threads,
                 int64_t band_rows = 0) {
  const Case& c = problem.c;
  base::ThreadPool pool(threads);
  base::Arena arena(size_t{2} << 20);
  Convolutions convolutions(pool, isa);
  convolutions.limit_band(band_rows);
  ConvolutionWeights weights = {
      .weight = view_of(problem.weight, {c.outputs, c.source.channels, c.kernel, c.kernel}),
      .bias = problem.bias.data(),
      .resampling = c.resampling};
  if (c.shortcut > 0) {
    weights.shortcut = view_of(problem.shortcut_weight, {c.outputs, c.shortcut, 1, 1});
    weights.shortcut_bias = problem.shortcut_bias.data();
  }
  const PackedConvolution packed = convolutions.pack(weights, precision, arena);
  EXPECT_EQ(packed.result_of(c.source), problem.result);
  const ChannelAffine affine = {problem.scale.data(), problem.shift.data(), true};
  Computed computed;
  computed.row_sums.resize(static_cast<size_t>(2 * problem.result.height * c.outputs), 1e9);
  // The residual is where the result goes, as in the network.
  computed.values = problem.residual;
  convolutions.run(packed,
                   {.source = problem.source.data(),
                    .shape = c.source,
                    .affine = c.affine ? &affine : nullptr,
                    .shortcut = c.shortcut > 0 ? problem.shortcut.data() : nullptr,
                    .residual = c.residual ? computed.values.data() : nullptr,
                    .result = computed.values.data(),
                    .row_sums = computed.row_sums.data()});
  return computed;
}

class ConvolutionTest : public tests::IsaTest {};

INSTANTIATE_TEST_SUITE_P(Isa, ConvolutionTest, tests::isa_levels(), tests::isa_level_name);

TEST_P(ConvolutionTest, MatchesItsDefinition) {
  for (const Case& c : kCases) {
    const Problem problem(c);
    const std::vector<float> expected = problem.expected();
    EXPECT_TRUE(close(compute(problem, Precision::kF32, GetParam(), 2).values, expected, kF32Error))
        << describe(c);
    EXPECT_TRUE(
        close(compute(problem, Precision::kBf16, GetParam(), 2).values, expected, kBf16Error))
        << describe(c);
  }
}

TEST_P(ConvolutionTest, SumsAreThoseOfTheRows) {
  for (const Case& c : kCases) {
    const Problem problem(c);
    const Computed computed = compute(problem, Precision::kF32, GetParam(), 2);
    const MapShape& shape = problem.result;
    for (int64_t row = 0; row < shape.height; ++row) {
      for (int64_t channel = 0; channel < shape.channels; ++channel) {
        double sum = 0;
        double squares = 0;
        for (int64_t x = 0; x < shape.width; ++x) {
          const double value =
              computed
                  .values[static_cast<size_t>((row * shape.width + x) * shape.channels + channel)];
          sum += value;
          squares += value * value;
        }
        const auto first = static_cast<size_t>(row * 2 * shape.channels + channel);
        const auto second = first + static_cast<size_t>(shape.channels);
        ASSERT_NEAR(computed.row_sums[first], sum, 1e-12 * squares + 1e-12) << describe(c);
        ASSERT_NEAR(computed.row_sums[second], squares, 1e-12 * squares) << describe(c);
      }
    }
  }
}

TEST_P(ConvolutionTest, BitsDependNeitherOnBandsNorOnThreads) {
  for (const Case& c : kCases) {
    const Problem problem(c);
    for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
      const Computed whole = compute(problem, precision, GetParam(), 1, 1000);
      for (const int64_t band_rows : {1, 2, 5}) {
        const Computed banded = compute(problem, precision, GetParam(), 3, band_rows);
        EXPECT_EQ(banded.values, whole.values) << describe(c) << ", bands of " << band_rows;
        EXPECT_EQ(banded.row_sums, whole.row_sums) << describe(c) << ", bands of " << band_rows;
      }
    }
  }
}

TEST(GroupNormTest, MatchesItsDefinition) {
  for (const MapShape& shape : {MapShape{1, 1, 6}, MapShape{7, 5, 6}, MapShape{33, 20, 96}}) {
    std::vector<float> map = normal_values(shape.size(), 1);
    // Means that are large beside the deviation, and one group without any.
    for (size_t i = 0; i < map.size(); ++i) {
      const auto channel = static_cast<int64_t>(i) % shape.channels;
      map[i] = channel < shape.channels / 3 ? 0.5f : map[i] + 100.0f;
    }
    const std::vector<float> weight = normal_values(shape.channels, 2);
    const std::vector<float> bias = normal_values(shape.channels, 3);
    std::vector<float> expected(map.size());
    ref::group_norm(map.data(), shape, 3, weight.data(), bias.data(), expected.data());

    std::vector<double> sums(static_cast<size_t>(2 * shape.height * shape.channels));
    for (size_t i = 0; i < map.size(); ++i) {
      const auto channel = static_cast<int64_t>(i) % shape.channels;
      const auto row = static_cast<int64_t>(i) / (shape.width * shape.channels);
      const auto first = static_cast<size_t>(row * 2 * shape.channels + channel);
      sums[first] += map[i];
      sums[first + static_cast<size_t>(shape.channels)] += static_cast<double>(map[i]) * map[i];
    }
    std::vector<float> scale(weight.size());
    std::vector<float> shift(weight.size());
    fold_group_norm(sums.data(), shape, 3, weight.data(), bias.data(), scale.data(), shift.data());
    std::vector<float> values(map.size());
    for (size_t i = 0; i < map.size(); ++i) {
      const size_t channel = i % weight.size();
      values[i] = map[i] * scale[channel] + shift[channel];
    }
    EXPECT_TRUE(close(values, expected, 3e-5)) << shape.height << " " << shape.channels;
  }
}

}  // namespace
}  // namespace ditmoe::kernels
