#include "ditmoe/data/sample_order.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace ditmoe::data {
namespace {

using ::testing::ElementsAre;

std::vector<int64_t> epoch(const SampleOrder& order, int64_t size, int64_t number) {
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

// Runs that exist are resumed in the order they were begun with.
TEST(SampleOrderTest, IsWhatItAlwaysWas) {
  const SampleOrder small(7, 3);
  EXPECT_THAT(epoch(small, 7, 0), ElementsAre(0, 6, 1, 3, 4, 5, 2));
  EXPECT_THAT(epoch(small, 7, 1), ElementsAre(1, 0, 5, 2, 4, 3, 6));
  EXPECT_THAT(epoch(small, 7, 2), ElementsAre(1, 3, 4, 0, 5, 2, 6));
  const SampleOrder large(60000, 7);
  EXPECT_EQ(large.at(0), 31009);
  EXPECT_EQ(large.at(5), 3135);
  EXPECT_EQ(large.at(3 * 60000 + 5), 54509);
}

TEST(SampleOrderTest, EpochsMayBeAskedForInAnyTurn) {
  const SampleOrder order(20, 8);
  for (const int64_t number : {5, 0, 5, 1, 0, 5, 2, 5, 1}) {
    EXPECT_EQ(epoch(order, 20, number), epoch(SampleOrder(20, 8), 20, number)) << number;
  }
}

TEST(SampleOrderTest, ThreadsMayAskAtOnce) {
  constexpr int64_t kSize = 300;
  constexpr int64_t kPositions = 5 * kSize;
  const SampleOrder alone(kSize, 4);
  std::vector<int64_t> expected;
  for (int64_t p = 0; p < kPositions; ++p) expected.push_back(alone.at(p));
  const SampleOrder shared(kSize, 4);
  std::vector<std::vector<int64_t>> found(6);
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < found.size(); ++i) {
      threads.emplace_back([&, i] {
        for (int64_t p = 0; p < kPositions; ++p) {
          found[i].push_back(shared.at((p + static_cast<int64_t>(i) * 200) % kPositions));
        }
      });
    }
  }
  for (size_t i = 0; i < found.size(); ++i) {
    std::ranges::rotate(found[i], found[i].end() - static_cast<std::ptrdiff_t>(i) * 200);
    EXPECT_EQ(found[i], expected) << i;
  }
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
