#include "ditmoe/kernels/expert_dispatch.h"

#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/philox.h"
#include "ditmoe/kernels/ref/expert_dispatch.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

// top_k distinct experts per token, of the first `used` ones.
std::vector<int32_t> random_choices(int64_t tokens, int64_t top_k, int64_t used) {
  std::vector<int32_t> index;
  for (int64_t token = 0; token < tokens; ++token) {
    const auto start = static_cast<int32_t>(
        base::random_below(static_cast<uint64_t>(used), {.index = static_cast<uint64_t>(token)}));
    for (int32_t k = 0; k < top_k; ++k) {
      index.push_back((start + k) % static_cast<int32_t>(used));
    }
  }
  return index;
}

void expect_equal(const ExpertDispatch& actual, const ExpertDispatch& expected) {
  EXPECT_EQ(actual.first_slot, expected.first_slot);
  EXPECT_EQ(actual.token, expected.token);
  EXPECT_EQ(actual.slot, expected.slot);
}

TEST(ExpertDispatchTest, MatchesItsDefinition) {
  constexpr int64_t kExperts = 8;
  ExpertDispatch actual;  // reused, as between the blocks of a network
  for (const int64_t tokens : {1, 2, 17, 200, 3}) {
    for (const int64_t top_k : {1, 2, 5}) {
      const std::vector<int32_t> index = random_choices(tokens, top_k, kExperts);
      ExpertDispatch expected;
      ref::dispatch(index.data(), tokens, top_k, kExperts, expected);
      dispatch(index.data(), tokens, top_k, kExperts, actual);
      expect_equal(actual, expected);
    }
  }
}

TEST(ExpertDispatchTest, EmptyExpertGetsNoSlots) {
  const std::vector<int32_t> index = {3, 1, 3};
  ExpertDispatch result;
  dispatch(index.data(), 3, 1, 5, result);
  EXPECT_EQ(result.first_slot, (std::vector<int64_t>{0, 0, 1, 1, 3, 3}));
  EXPECT_EQ(result.token, (std::vector<int32_t>{1, 0, 2}));
  EXPECT_EQ(result.slot, (std::vector<int32_t>{1, 0, 2}));
}

TEST(ExpertDispatchTest, GatherAndCombineMatchTheirDefinitions) {
  constexpr int64_t kTokens = 23;
  constexpr int64_t kTopK = 3;
  for (const int64_t width : {1, 13, 64}) {
    const std::vector<int32_t> index = random_choices(kTokens, kTopK, 4);
    ExpertDispatch d;
    dispatch(index.data(), kTokens, kTopK, 6, d);
    const std::vector<float> src = tests::normal_values(kTokens * width, 1);
    std::vector<float> gathered(static_cast<size_t>(kTokens * kTopK * width));
    std::vector<float> expected_gathered = gathered;
    gather_rows(src.data(), d.token.data(), kTokens * kTopK, width, gathered.data());
    ref::gather_rows(src.data(), d.token.data(), kTokens * kTopK, width, expected_gathered.data());
    EXPECT_EQ(gathered, expected_gathered);

    const std::vector<float> weight = tests::normal_values(kTokens * kTopK, 2);
    std::vector<float> dst = tests::normal_values(kTokens * width, 3);
    std::vector<float> expected = dst;
    combine_experts(
        gathered.data(), d.slot.data(), weight.data(), kTokens, kTopK, width, dst.data());
    ref::combine_experts(
        gathered.data(), d.slot.data(), weight.data(), kTokens, kTopK, width, expected.data());
    EXPECT_TRUE(tests::close(dst, expected, 1e-6)) << width;
  }
}

TEST(ExpertDispatchTest, WeightsOfOneBringEveryRowHome) {
  constexpr int64_t kTokens = 11;
  const std::vector<int32_t> index = random_choices(kTokens, 2, 4);
  ExpertDispatch d;
  dispatch(index.data(), kTokens, 2, 4, d);
  const std::vector<float> src = tests::normal_values(kTokens * 5, 1);
  std::vector<float> gathered(static_cast<size_t>(kTokens * 2 * 5));
  gather_rows(src.data(), d.token.data(), kTokens * 2, 5, gathered.data());
  const std::vector<float> halves(static_cast<size_t>(kTokens * 2), 0.5f);
  std::vector<float> dst(src.size());
  combine_experts(gathered.data(), d.slot.data(), halves.data(), kTokens, 2, 5, dst.data());
  EXPECT_EQ(dst, src);
}

}  // namespace
}  // namespace ditmoe::kernels
