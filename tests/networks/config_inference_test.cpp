#include "ditmoe/networks/config_inference.h"

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

namespace ditmoe::networks {
namespace {

using Arguments = std::map<std::string, std::string>;

DitConfig small_config() {
  DitConfig config;
  config.image_size = 8;
  config.width = 16;
  config.depth = 2;
  config.heads = 2;
  config.num_classes = 3;
  config.experts = 4;
  return config;
}

// What the tensors of a network and a checkpoint's training arguments tell.
DitConfig inferred(const DitConfig& config,
                   const Arguments& arguments,
                   ModelOverrides overrides = {}) {
  ShapeTable table;
  for (const TensorSpec& spec : tensor_specs(config)) table[spec.name] = {spec.name, spec.shape};
  overrides.heads = config.heads;
  return infer_config(table, overrides, arguments, "model.pt");
}

TEST(TrainingArgumentsTest, TellWhatShapesCannot) {
  const DitConfig config = small_config();
  EXPECT_EQ(inferred(config, {}).top_k, 2);
  EXPECT_EQ(inferred(config, {{"args.num_experts_per_tok", "3"}}).top_k, 3);
  EXPECT_EQ(inferred(config, {}).objective, Objective::kDdpm);
  EXPECT_EQ(inferred(config, {{"args.rf", "true"}}).objective, Objective::kRectifiedFlow);
  EXPECT_EQ(inferred(config, {{"args.rf", "false"}}).objective, Objective::kDdpm);
}

TEST(TrainingArgumentsTest, TellTheObjectiveOfANetworkWithoutVariance) {
  DitConfig config = small_config();
  config.learn_sigma = false;
  EXPECT_THROW(inferred(config, {}), base::Error);
  EXPECT_EQ(inferred(config, {{"args.rf", "false"}}).objective, Objective::kDdpm);
  EXPECT_EQ(inferred(config, {{"args.rf", "true"}}).objective, Objective::kRectifiedFlow);
}

TEST(TrainingArgumentsTest, NeverWinOverShapesOrFlags) {
  const DitConfig config = small_config();
  const Arguments lies = {{"args.num_experts_per_tok", "1"},
                          {"args.num_experts", "64"},
                          {"args.num_classes", "1000"},
                          {"args.image_size", "512"},
                          {"args.model", "DiT-XL/2"},
                          {"args.rf", "true"}};
  const DitConfig found = inferred(config, lies, {.top_k = 3, .objective = Objective::kDdpm});
  DitConfig expected = config;
  expected.top_k = 3;
  EXPECT_EQ(found, expected);
  // A dense block beside the sparse ones tells how many experts a token takes.
  DitConfig alternate = config;
  alternate.moe_placement = MoePlacement::kAlternate;
  EXPECT_EQ(inferred(alternate, {{"args.num_experts_per_tok", "1"}}).top_k, 2);
}

TEST(TrainingArgumentsTest, ImpossibleNumbersArePassedOver) {
  for (const char* top_k : {"0", "-1", "5", "2.5", "", "two", "99999999999999999999"}) {
    EXPECT_EQ(inferred(small_config(), {{"args.num_experts_per_tok", top_k}}).top_k, 2) << top_k;
  }
}

TEST(CanonicalNameTest, WrappersAreTakenOff) {
  EXPECT_EQ(canonical_name("module.blocks.0.attn.Wqkv.weight"), "blocks.0.attn.qkv.weight");
  EXPECT_EQ(canonical_name("_orig_mod.pos_embed"), "pos_embed");
  EXPECT_EQ(canonical_name("module._orig_mod.pos_embed"), "pos_embed");
  EXPECT_EQ(canonical_name("_orig_mod.module.pos_embed"), "pos_embed");
  EXPECT_EQ(canonical_name("module.module.model.pos_embed"), "pos_embed");
  EXPECT_EQ(canonical_name("modules.pos_embed"), "modules.pos_embed");
}

}  // namespace
}  // namespace ditmoe::networks
