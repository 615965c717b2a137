#include "ditmoe/networks/dit_config.h"

#include <gmock/gmock.h>
#include <set>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

namespace ditmoe::networks {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The message of the bad input that `run` throws; empty where it throws none.
template <typename Run>
std::string error_of(Run&& run) {
  try {
    run();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
    return error.what();
  }
  return {};
}

struct Count {
  const char* preset;
  int64_t total;
  int64_t activated;
  int64_t hundredths_of_gmac;
};

class PresetCountTest : public ::testing::TestWithParam<Count> {};

TEST_P(PresetCountTest, EqualsPublishedNetwork) {
  const DitConfig config = preset(GetParam().preset);
  EXPECT_EQ(total_parameters(config), GetParam().total);
  EXPECT_EQ(activated_parameters(config), GetParam().activated);
  EXPECT_EQ((forward_macs(config) + 5'000'000) / 10'000'000, GetParam().hundredths_of_gmac);
}

INSTANTIATE_TEST_SUITE_P(
    Presets,
    PresetCountTest,
    ::testing::Values(Count{"S/2-8E2A", 199'307'552, 71'905'568, 16'03},
                      Count{"S/2-16E2A", 369'213'728, 71'942'432, 16'04},
                      Count{"B/2-8E2A", 795'861'536, 286'253'600, 62'89},
                      Count{"L/2-8E2A", 2'823'764'000, 1'011'824'672, 222'48},
                      Count{"XL/2-8E2A", 4'168'164'128, 1'492'722'464, 327'97},
                      Count{"G/2-16E2A", 16'503'717'152, 3'181'559'072, 698'33},
                      // DiT-XL/2: the parameters its authors print; their 118.6 "Gflops" are MACs.
                      Count{"XL/2", 675'129'632, 675'129'632, 118'62}));

TEST(DitConfigTest, PresetNamesAreTheOnesCounted) {
  EXPECT_THAT(
      preset_names(),
      ElementsAre("S/2-8E2A", "S/2-16E2A", "B/2-8E2A", "L/2-8E2A", "XL/2-8E2A", "G/2-16E2A"));
  for (const std::string& name : preset_names()) EXPECT_NO_THROW(preset(name).validate());
}

TEST(DitConfigTest, SwigluControlHasTheActivatedParametersOfItsMoe) {
  const DitConfig moe = preset("S/2-8E2A");
  const DitConfig control = preset("S/2-swiglu");
  const int64_t routers = moe.depth * moe.experts * moe.width;
  EXPECT_EQ(total_parameters(control), activated_parameters(moe) - routers);
  EXPECT_EQ(activated_parameters(control), total_parameters(control));
  EXPECT_EQ(forward_macs(control), forward_macs(moe) - moe.tokens() * routers);
}

TEST(DitConfigTest, PresetTakesPatchAndExpertsFromTheName) {
  const DitConfig config = preset("L/8-32E4A");
  EXPECT_EQ(config.patch_size, 8);
  EXPECT_EQ(config.experts, 32);
  EXPECT_EQ(config.top_k, 4);
  EXPECT_EQ(config.tokens(), 16);
}

TEST(DitConfigTest, UnknownPresetNamesTheKnownOnes) {
  for (const char* name : {"",
                           "M/2-8E2A",
                           "S/3-8E2A",
                           "S-8E2A",
                           "S/2-8E",
                           "S/2-2E8A",
                           "S/2-8E2Ax",
                           "S/2-99999E2A",
                           "S/2-0E0A",
                           "S/2 "}) {
    EXPECT_THAT(error_of([&] { preset(name); }), HasSubstr("S/2-16E2A")) << name;
  }
}

TEST(DitConfigTest, QkNormAddsFourHeadsSizesToEachLayer) {
  DitConfig config = preset("S/2-8E2A");
  const int64_t without = total_parameters(config);
  config.qk_norm = true;
  EXPECT_EQ(total_parameters(config) - without, config.depth * 4 * config.head_dim());
}

TEST(DitConfigTest, SpecsComeInCanonicalOrder) {
  DitConfig config;
  config.image_size = 8;
  config.width = 32;
  config.heads = 4;
  config.depth = 1;
  config.num_classes = 10;
  config.experts = 1;
  config.top_k = 1;
  config.qk_norm = true;
  std::vector<std::string> lines;
  for (const TensorSpec& spec : tensor_specs(config)) {
    lines.push_back(spec.name + " " + base::to_string(spec.shape));
  }
  EXPECT_THAT(lines,
              ElementsAre("pos_embed [1, 16, 32]",
                          "x_embedder.proj.weight [32, 4, 2, 2]",
                          "x_embedder.proj.bias [32]",
                          "t_embedder.mlp.0.weight [32, 256]",
                          "t_embedder.mlp.0.bias [32]",
                          "t_embedder.mlp.2.weight [32, 32]",
                          "t_embedder.mlp.2.bias [32]",
                          "y_embedder.embedding_table.weight [11, 32]",
                          "blocks.0.attn.qkv.weight [96, 32]",
                          "blocks.0.attn.qkv.bias [96]",
                          "blocks.0.attn.q_norm.weight [8]",
                          "blocks.0.attn.q_norm.bias [8]",
                          "blocks.0.attn.k_norm.weight [8]",
                          "blocks.0.attn.k_norm.bias [8]",
                          "blocks.0.attn.proj.weight [32, 32]",
                          "blocks.0.attn.proj.bias [32]",
                          "blocks.0.moe.experts.0.gate_proj.weight [128, 32]",
                          "blocks.0.moe.experts.0.up_proj.weight [128, 32]",
                          "blocks.0.moe.experts.0.down_proj.weight [32, 128]",
                          "blocks.0.moe.gate.weight [1, 32]",
                          "blocks.0.moe.shared_experts.gate_proj.weight [64, 32]",
                          "blocks.0.moe.shared_experts.up_proj.weight [64, 32]",
                          "blocks.0.moe.shared_experts.down_proj.weight [32, 64]",
                          "blocks.0.adaLN_modulation.1.weight [192, 32]",
                          "blocks.0.adaLN_modulation.1.bias [192]",
                          "final_layer.linear.weight [32, 32]",
                          "final_layer.linear.bias [32]",
                          "final_layer.adaLN_modulation.1.weight [64, 32]",
                          "final_layer.adaLN_modulation.1.bias [64]"));
}

TEST(DitConfigTest, DenseNetworksNameTheirFeedForward) {
  DitConfig config = preset("S/4");
  std::set<std::string> names;
  for (const TensorSpec& spec : tensor_specs(config)) {
    names.insert(spec.name + base::to_string(spec.shape));
  }
  EXPECT_TRUE(names.contains("blocks.11.mlp.fc1.weight[1536, 384]"));
  EXPECT_TRUE(names.contains("blocks.11.mlp.fc2.bias[384]"));

  config = preset("S/4-swiglu");
  names.clear();
  for (const TensorSpec& spec : tensor_specs(config)) {
    names.insert(spec.name + base::to_string(spec.shape));
  }
  EXPECT_TRUE(names.contains("blocks.0.mlp.gate_proj.weight[3840, 384]"));
  EXPECT_TRUE(names.contains("blocks.0.mlp.down_proj.weight[384, 3840]"));
}

TEST(DitConfigTest, ExpertsChosenByTimeAreCounted) {
  const DitConfig dense = preset("XL/2");
  const DitConfig config = preset("XL/2-switch");
  EXPECT_NO_THROW(config.validate());
  // Each of 28 blocks has a gate of 3 x (1152 + 1) and three layers of 1152 x 1152 with biases, of
  // which an image takes two.
  const int64_t layer = 1152 * 1152 + 1152;
  EXPECT_EQ(total_parameters(config) - total_parameters(dense), 28 * (3 * 1153 + 3 * layer));
  EXPECT_EQ(total_parameters(config) - activated_parameters(config), 28 * layer);
  EXPECT_EQ(forward_macs(config) - forward_macs(dense),
            28 * (3 * 1152 + 2 * 256 * int64_t{1152} * 1152));

  DitConfig one = config;
  one.depth = 1;
  std::vector<std::string> lines;
  for (const TensorSpec& spec : tensor_specs(one)) {
    if (spec.name.starts_with("routers.")) {
      lines.push_back(spec.name + " " + base::to_string(spec.shape));
    }
  }
  EXPECT_THAT(lines,
              ElementsAre("routers.0.f_gate.1.weight [3, 1152]",
                          "routers.0.f_gate.1.bias [3]",
                          "routers.0.experts.w [3, 1152, 1152]",
                          "routers.0.experts.b [3, 1152]"));
}

TEST(DitConfigTest, PlacementChoosesSparseBlocks) {
  DitConfig config;
  config.depth = 5;
  const auto layers = [&](MoePlacement placement) {
    config.moe_placement = placement;
    std::vector<int> moe;
    for (int layer = 0; layer < 5; ++layer) {
      if (config.is_moe(layer)) moe.push_back(layer);
    }
    return moe;
  };
  EXPECT_THAT(layers(MoePlacement::kEvery), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(layers(MoePlacement::kAlternate), ElementsAre(1, 3));
  EXPECT_THAT(layers(MoePlacement::kDeepHalf), ElementsAre(2, 3, 4));

  // Whatever the placement, what one token uses stays the same but for the routers.
  config = preset("S/2-8E2A");
  const int64_t every = activated_parameters(config);
  config.moe_placement = MoePlacement::kAlternate;
  EXPECT_EQ(every - activated_parameters(config), 6 * config.experts * config.width);
}

TEST(DitConfigTest, JsonRoundTripsEveryField) {
  DitConfig config;
  config.image_size = 28;
  config.patch_size = 4;
  config.channels = 1;
  config.width = 160;
  config.depth = 7;
  config.heads = 5;
  config.num_classes = 10;
  config.feed_forward = FeedForward::kSwiglu;
  config.experts = 3;
  config.top_k = 1;
  config.shared_experts = 4;
  config.expert_width = 99;
  config.moe_placement = MoePlacement::kDeepHalf;
  config.qk_norm = true;
  config.learn_sigma = false;
  config.objective = Objective::kRectifiedFlow;
  config.balance_factor = 0.25;
  config.balance_pool = BalancePool::kBatch;
  const std::string text = to_json(config).dump();
  EXPECT_EQ(dit_config_from_json(base::parse_json(text, "test"), "test"), config);
  EXPECT_EQ(text.find("time_"), std::string::npos);
  config.time_experts = 5;
  config.time_top_k = 4;
  EXPECT_EQ(dit_config_from_json(to_json(config), "test"), config);
  EXPECT_EQ(dit_config_from_json(base::Json::object(), "test"), DitConfig());
}

TEST(DitConfigTest, JsonErrorsNameSourceAndKey) {
  const auto error = [](const char* text) {
    return error_of([&] { dit_config_from_json(base::parse_json(text, "m"), "m.safetensors"); });
  };
  EXPECT_THAT(error(R"({"widht": 4})"), HasSubstr("m.safetensors: unknown key \"widht\""));
  EXPECT_THAT(error(R"({"width": 4.5})"), HasSubstr("m.safetensors: width: expected a whole"));
  EXPECT_THAT(error(R"({"width": 18446744073709551615})"), HasSubstr("expected a whole number"));
  EXPECT_THAT(error(R"({"qk_norm": 1})"), HasSubstr("qk_norm: expected true or false, found 1"));
  EXPECT_THAT(error(R"({"objective": "edm"})"),
              HasSubstr("expected one of ddpm, rf, found \"edm\""));
  EXPECT_THAT(error(R"({"objective": {}})"), HasSubstr("expected a word, found object"));
  EXPECT_THAT(error("[]"), HasSubstr("expected an object, found array"));
}

TEST(DitConfigTest, ValidateNamesTheKey) {
  const auto error = [](auto&& change) {
    DitConfig config;
    change(config);
    return error_of([&] { config.validate(); });
  };
  EXPECT_EQ(error([](DitConfig&) {}), "");
  EXPECT_THAT(error([](DitConfig& c) { c.heads = 7; }), HasSubstr("width must be a multiple of"));
  EXPECT_THAT(error([](DitConfig& c) { c.patch_size = 3; }), HasSubstr("patch_size 3, found 32"));
  EXPECT_THAT(error([](DitConfig& c) { c.top_k = 9; }), HasSubstr("top_k must be from 1 to 8"));
  // Also where the network has no experts.
  for (const FeedForward dense : {FeedForward::kGelu, FeedForward::kSwiglu}) {
    EXPECT_THAT(error([dense](DitConfig& c) {
                  c.feed_forward = dense;
                  c.experts = 1'000'000'000'000;
                }),
                HasSubstr("experts must be from 0 to 4096"));
    EXPECT_THAT(error([dense](DitConfig& c) {
                  c.feed_forward = dense;
                  c.top_k = -5;
                }),
                HasSubstr("top_k must be from"));
  }
  EXPECT_THAT(error([](DitConfig& c) { c.time_experts = 3, c.time_top_k = 2; }),
              HasSubstr("time_experts must be from 0 to 0, found 3"));
  const auto by_time = [&](int64_t experts, int64_t top_k) {
    return error([&](DitConfig& c) {
      c.feed_forward = FeedForward::kGelu;
      c.time_experts = experts;
      c.time_top_k = top_k;
    });
  };
  EXPECT_EQ(by_time(3, 2), "");
  EXPECT_THAT(by_time(3, 4), HasSubstr("time_top_k must be from 1 to 3, found 4"));
  EXPECT_THAT(by_time(3, 0), HasSubstr("time_top_k must be from 1 to 3, found 0"));
  EXPECT_THAT(by_time(0, 1), HasSubstr("time_top_k must be from 0 to 0, found 1"));
  EXPECT_THAT(by_time(-1, 0), HasSubstr("time_experts must be from 0 to 4096, found -1"));
  EXPECT_THAT(error([](DitConfig& c) { c.depth = -1; }), HasSubstr("depth must be"));
  EXPECT_THAT(error([](DitConfig& c) { c.width = int64_t{1} << 40; }), HasSubstr("width must be"));
  EXPECT_THAT(error([](DitConfig& c) { c.balance_factor = -1; }), HasSubstr("balance_factor"));
  EXPECT_THAT(error([](DitConfig& c) { c.width = 6, c.heads = 1; }), HasSubstr("number 4"));
}

}  // namespace
}  // namespace ditmoe::networks
