#include "ditmoe/kernels/router.h"

#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/router.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Choice {
  std::vector<int32_t> index;
  std::vector<float> weight;
};

Choice choose(const std::vector<float>& logits, int64_t experts, int64_t top_k) {
  const int64_t rows = static_cast<int64_t>(logits.size()) / experts;
  Choice choice{std::vector<int32_t>(static_cast<size_t>(rows * top_k), -1),
                std::vector<float>(static_cast<size_t>(rows * top_k), -1.0f)};
  std::vector<float> workspace(static_cast<size_t>(2 * experts));
  route(logits.data(),
        rows,
        experts,
        {},
        top_k,
        workspace.data(),
        choice.index.data(),
        choice.weight.data());
  return choice;
}

TEST(RouterTest, MatchesItsDefinition) {
  constexpr int64_t kRows = 50;
  for (const int64_t experts : {1, 2, 3, 8, 16, 37}) {
    for (const int64_t top_k : {int64_t{1}, int64_t{2}, experts}) {
      if (top_k > experts) {
        continue;
      }
      const std::vector<float> logits = tests::normal_values(kRows * experts, 1, 2.0f);
      std::vector<int32_t> index(static_cast<size_t>(kRows * top_k));
      std::vector<float> weight(index.size());
      ref::route(logits.data(), kRows, experts, {}, top_k, index.data(), weight.data());
      const Choice choice = choose(logits, experts, top_k);
      EXPECT_EQ(choice.index, index);
      EXPECT_TRUE(tests::close(choice.weight, weight, 1e-6));
    }
  }
}

TEST(RouterTest, LowestIndexWinsATieAndChoicesAreSorted) {
  const Choice all_equal = choose({2, 2, 2, 2}, 4, 2);
  EXPECT_EQ(all_equal.index, (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(all_equal.weight, (std::vector<float>{0.25f, 0.25f}));
  EXPECT_EQ(choose({0, 5, 9, 5}, 4, 2).index, (std::vector<int32_t>{1, 2}));
}

TEST(RouterTest, WeightsAreNotRenormalised) {
  const Choice choice = choose({0, 0, 0, 0, 0}, 5, 2);
  EXPECT_FLOAT_EQ(choice.weight[0] + choice.weight[1], 0.4f);
}

TEST(RouterTest, NonFiniteLogitsStillGiveDistinctExperts) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<std::vector<float>> rows = {{kNan, kNan, kNan, kNan},
                                                {1, kNan, 3, 2},
                                                {-infinity, -infinity, -infinity, -infinity},
                                                {infinity, infinity, 0, 1}};
  for (const std::vector<float>& logits : rows) {
    for (int64_t top_k = 1; top_k <= 4; ++top_k) {
      const Choice choice = choose(logits, 4, top_k);
      const std::set<int32_t> distinct(choice.index.begin(), choice.index.end());
      EXPECT_EQ(static_cast<int64_t>(distinct.size()), top_k);
      EXPECT_GE(*distinct.begin(), 0);
      EXPECT_LT(*distinct.rbegin(), 4);
      EXPECT_TRUE(std::isnan(choice.weight[0]));
    }
  }
}

}  // namespace
}  // namespace ditmoe::kernels
