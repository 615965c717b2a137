#include "ditmoe/kernels/matmul.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/ref/matmul.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

using tests::normal_values;

struct Case {
  int64_t inputs;
  int64_t outputs;
  bool bias;
};

// Odd sizes, the narrow ones of the patch embedding and router, and those of S/2.
const Case kCases[] = {{4, 128, true},
                       {128, 8, false},
                       {128, 1, false},
                       {1, 1, true},
                       {33, 65, true},
                       {384, 1152, true},
                       {384, 768, false},
                       {1536, 384, false}};

struct Fixture {
  explicit Fixture(const Case& c, int64_t max_rows)
      : weight(normal_values(c.outputs * c.inputs, 1)),
        bias(normal_values(c.outputs, 2)),
        x(normal_values(max_rows * c.inputs, 3)),
        matmul(1),
        packed(matmul.pack({base::DType::kF32,
                            {c.outputs, c.inputs},
                            reinterpret_cast<const std::byte*>(weight.data())},
                           c.bias ? bias.data() : nullptr,
                           Precision::kF32,
                           arena)) {}

  std::vector<float> multiply(int64_t first, int64_t rows) const {
    std::vector<float> y(static_cast<size_t>(rows * packed.outputs()));
    matmul.multiply(x.data() + first * packed.inputs(), rows, packed, y.data(), 0);
    return y;
  }

  std::vector<float> weight;
  std::vector<float> bias;
  std::vector<float> x;
  base::Arena arena{size_t{2} << 20};
  Matmul matmul;
  PackedMatrix packed;
};

TEST(MatmulTest, MatchesItsDefinition) {
  for (const Case& c : kCases) {
    const Fixture f(c, 200);
    for (const int64_t rows : {1, 5, 16, 49, 200}) {
      std::vector<float> expected(static_cast<size_t>(rows * c.outputs));
      ref::matmul(f.x.data(),
                  rows,
                  f.weight.data(),
                  c.bias ? f.bias.data() : nullptr,
                  c.outputs,
                  c.inputs,
                  expected.data());
      EXPECT_TRUE(tests::close(f.multiply(0, rows), expected, 1e-5))
          << rows << " x " << c.inputs << " x " << c.outputs << " by "
          << Matmul::implementation(f.packed);
    }
  }
}

TEST(MatmulTest, RowsAreTheSameBitsWhateverTheNumberOfRows) {
  constexpr int64_t kRows = 250;
  for (const Case& c : kCases) {
    const Fixture f(c, kRows);
    const std::vector<float> all = f.multiply(0, kRows);
    for (const int64_t rows : {1, 2, 3, 7, 16, 31, 64, 96, 125, 192}) {
      const int64_t first = kRows - rows;
      const std::vector<float> some = f.multiply(first, rows);
      EXPECT_EQ(some, std::vector<float>(all.begin() + first * c.outputs, all.end()))
          << rows << " rows of " << c.inputs << " x " << c.outputs << " by "
          << Matmul::implementation(f.packed);
    }
  }
}

TEST(MatmulTest, ThreadsShareOnePackedMatrix) {
  constexpr int64_t kTasks = 60;
  base::ThreadPool pool(3);
  Matmul matmul(pool.size());
  const std::vector<float> weight = normal_values(96 * 64, 1);
  base::Arena arena;
  const PackedMatrix packed =
      matmul.pack({base::DType::kF32, {96, 64}, reinterpret_cast<const std::byte*>(weight.data())},
                  nullptr,
                  Precision::kF32,
                  arena);
  const std::vector<float> x = normal_values(kTasks * 64, 2);
  std::vector<float> y(kTasks * 96);
  // Task i has its own number of rows, so that primitives are compiled while others execute.
  pool.run(kTasks, [&](int64_t i, int thread) {
    std::vector<float> rows(static_cast<size_t>((kTasks - i) * 96));
    matmul.multiply(x.data() + i * 64, kTasks - i, packed, rows.data(), thread);
    std::copy_n(rows.begin(), 96, y.begin() + i * 96);
  });
  std::vector<float> expected(y.size());
  matmul.multiply(x.data(), kTasks, packed, expected.data(), 0);
  EXPECT_EQ(y, expected);
}

TEST(MatmulTest, NanStaysInItsRow) {
  Fixture f({40, 24, true}, 8);
  f.x[3 * 40 + 7] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> y = f.multiply(0, 8);
  for (int64_t i = 0; i < 8 * 24; ++i) {
    EXPECT_EQ(std::isnan(y[i]), i / 24 == 3) << i;
  }
}

TEST(MatmulTest, TilesCoverAllRowsAndAreOfNearlyEqualHeight) {
  for (const int64_t rows : {0, 1, 191, 192, 193, 500, 4096}) {
    int64_t next = 0;
    for (const Tile& tile : tiles_of(rows)) {
      EXPECT_EQ(tile.first, next);
      EXPECT_LE(tile.rows, kMaxTileRows);
      EXPECT_GE(tile.rows, std::min<int64_t>(rows, kMaxTileRows / 2));
      next += tile.rows;
    }
    EXPECT_EQ(next, rows);
  }
}

}  // namespace
}  // namespace ditmoe::kernels
