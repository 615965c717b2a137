#include "ditmoe/kernels/expert_dispatch.h"

#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/philox.h"
#include "ditmoe/kernels/ref/expert_dispatch.h"

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

TEST(ExpertDispatchTest, EverySlotHoldsTheTokenOfItsChoice) {
  constexpr int64_t kTokens = 11;
  const std::vector<int32_t> index = random_choices(kTokens, 2, 4);
  ExpertDispatch d;
  dispatch(index.data(), kTokens, 2, 4, d);
  for (int64_t choice = 0; choice < kTokens * 2; ++choice) {
    const int32_t slot = d.slot[choice];
    EXPECT_EQ(d.token[slot], choice / 2) << choice;
    EXPECT_GE(slot, d.first_slot[index[choice]]) << choice;
    EXPECT_LT(slot, d.first_slot[index[choice] + 1]) << choice;
  }
}

TEST(ExpertDispatchTest, NoTokensGiveEmptyRanges) {
  ExpertDispatch d;
  dispatch(nullptr, 0, 2, 3, d);
  EXPECT_EQ(d.first_slot, std::vector<int64_t>(4));
  EXPECT_TRUE(d.token.empty());
}

}  // namespace
}  // namespace ditmoe::kernels
