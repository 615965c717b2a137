#include "ditmoe/data/sample_order.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

namespace ditmoe::data {
namespace {

std::vector<int64_t> epoch(SampleOrder& order, int64_t size, int64_t number) {
  std::vector<int64_t> items;
  for (int64_t i = 0; i < size; ++i) items.push_back(order.at(number * size + i));
  return items;
}

TEST(SampleOrderTest, EachEpochIsAPermutationOfItsOwn) {
  constexpr int64_t kSize = 101;
  SampleOrder order(kSize, 5);
  std::vector<int64_t> first = epoch(order, kSize, 0);
  const std::vector<int64_t> second = epoch(order, kSize, 1);
  EXPECT_NE(first, second);
  std::ranges::sort(first);
  for (int64_t i = 0; i < kSize; ++i) EXPECT_EQ(first[static_cast<size_t>(i)], i);
}

TEST(SampleOrderTest, AnyPositionCanBeHadWithoutTheOnesBefore) {
  SampleOrder forwards(50, 5);
  const std::vector<int64_t> third = epoch(forwards, 50, 3);
  SampleOrder directly(50, 5);
  EXPECT_EQ(directly.at(3 * 50 + 17), third[17]);
  EXPECT_EQ(directly.at(2), SampleOrder(50, 5).at(2));
}

TEST(SampleOrderTest, DependsOnTheSeed) {
  SampleOrder one(50, 1);
  SampleOrder two(50, 2);
  EXPECT_NE(epoch(one, 50, 0), epoch(two, 50, 0));
}

TEST(SampleOrderTest, OneItemIsAlwaysItself) {
  SampleOrder order(1, 9);
  for (int64_t position : {0, 1, 1000}) EXPECT_EQ(order.at(position), 0);
}

}  // namespace
}  // namespace ditmoe::data
