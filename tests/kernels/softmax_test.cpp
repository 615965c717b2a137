#include "ditmoe/kernels/softmax.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/softmax.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

TEST(SoftmaxTest, MatchesItsDefinition) {
  for (const int64_t size : {1, 2, 15, 16, 49, 256}) {
    std::vector<float> row = tests::normal_values(size, 1, 10.0f);
    std::vector<float> expected = row;
    ref::softmax(expected.data(), size, 0.3f);
    softmax(row.data(), size, 0.3f);
    EXPECT_TRUE(tests::close(row, expected, 2e-6)) << size;
  }
}

TEST(SoftmaxTest, HugeEntriesDoNotOverflow) {
  std::vector<float> row = {3e4f, -3e4f, 3e4f};
  softmax(row.data(), 3, 1.0f);
  EXPECT_EQ(row, (std::vector<float>{0.5f, 0.0f, 0.5f}));
}

TEST(SoftmaxTest, NanAnywhereSpoilsTheWholeRow) {
  for (const size_t place : {0, 5, 18}) {
    std::vector<float> row = tests::normal_values(19, 2);
    row[place] = std::numeric_limits<float>::quiet_NaN();
    softmax(row.data(), 19, 1.0f);
    for (const float p : row) {
      EXPECT_TRUE(std::isnan(p));
    }
  }
}

}  // namespace
}  // namespace ditmoe::kernels
