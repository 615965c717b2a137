// Experts chosen by the timestep, before each block: Switch-DiT.

#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "random_networks.h"

namespace ditmoe::networks {
namespace {

TEST(TimeExpertsTest, ExpertsChosenByTimeMatchTheDefinition) {
  for (const auto& [experts, top_k] : {std::pair{1, 1}, {3, 2}, {5, 5}, {16, 3}}) {
    expect_matches_definition(switch_config(experts, top_k));
  }
  DitConfig odd = switch_config(3, 2);
  odd.image_size = 33;  // 121 tokens: tiles begin and end inside images
  odd.patch_size = 3;
  odd.channels = 1;
  odd.width = 36;
  odd.heads = 3;
  odd.depth = 3;
  odd.learn_sigma = false;
  expect_matches_definition(odd);

  DitConfig one_token = switch_config(4, 1);
  one_token.patch_size = one_token.image_size;
  one_token.feed_forward = FeedForward::kSwiglu;
  one_token.qk_norm = true;
  expect_matches_definition(one_token);
}

TEST(TimeExpertsTest, ChoicesByTimeAreOnesOfTheImageAndNotOfTheLabel) {
  const DitConfig config = switch_config(8, 2);
  const ModelFile model = random_model(config);
  Batch batch(config, 4);
  batch.t = {10, 900, 10, 900};
  base::ThreadPool pool(2);
  RoutingTrace trace;
  DitExecutor(model, {}, pool).predict_traced(batch.x, batch.t, batch.y, batch.out, trace);
  EXPECT_EQ(trace.moe_layers, config.depth);
  EXPECT_EQ(trace.tokens, 4);
  EXPECT_EQ(trace.top_k, 2);
  ASSERT_EQ(trace.index.size(), 2U * 4 * 2);
  ASSERT_EQ(trace.weight.size(), trace.index.size());
  bool differs = false;
  for (size_t layer = 0; layer < 2; ++layer) {
    const size_t first = layer * 8;
    for (size_t k = 0; k < 4; ++k) {
      EXPECT_EQ(trace.index[first + k], trace.index[first + 4 + k]);
      EXPECT_EQ(trace.weight[first + k], trace.weight[first + 4 + k]);
    }
    for (size_t k = 0; k < 2; ++k) {
      differs = differs || trace.weight[first + k] != trace.weight[first + 2 + k];
    }
    EXPECT_LT(trace.index[first], trace.index[first + 1]);
  }
  EXPECT_TRUE(differs);
}

TEST(TimeExpertsTest, EqualGatesChooseTheFirstExperts) {
  const DitConfig config = switch_config(4, 2);
  Weights weights = random_weights(config);
  for (const std::string router : {"routers.0.", "routers.1."}) {
    for (const char* part : {"f_gate.1.weight", "f_gate.1.bias"}) {
      for (float& value : weights[router + part].as<float>()) value = 0.0f;
    }
  }
  const ModelFile model = model_of(config, weights);
  expect_matches_definition(config, model);
  Batch batch(config, 2);
  base::ThreadPool pool(1);
  RoutingTrace trace;
  DitExecutor(model, {}, pool).predict_traced(batch.x, batch.t, batch.y, batch.out, trace);
  for (size_t i = 0; i < trace.index.size(); ++i) {
    EXPECT_EQ(trace.index[i], static_cast<int32_t>(i % 2));
    EXPECT_FLOAT_EQ(trace.weight[i], 0.25f);  // not renormalised
  }
}

}  // namespace
}  // namespace ditmoe::networks
