#include "ditmoe/networks/upcycle.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <gmock/gmock.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/networks/dit_executor.h"
#include "ditmoe/networks/model_writer.h"

#include "tests/support/arrays.h"

namespace ditmoe::networks {
namespace {

using ::testing::HasSubstr;

DitConfig moe_config() {
  DitConfig config;
  config.image_size = 8;
  config.channels = 3;
  config.width = 32;
  config.depth = 3;
  config.heads = 4;
  config.num_classes = 5;
  config.experts = 4;
  config.top_k = 2;
  config.shared_experts = 1;
  return config;
}

// A hidden width of 2·40 + 32 = 112: no multiple of the network's.
DitConfig dense_config() {
  DitConfig config = moe_config();
  config.feed_forward = FeedForward::kSwiglu;
  config.expert_width = 40;
  return config;
}

std::vector<float> values(const WeightSource& weights, const std::string& name) {
  const base::Tensor tensor = weights.floats(name);
  return {tensor.as<float>().begin(), tensor.as<float>().end()};
}

// The same read in pieces that begin anywhere.
std::vector<float> in_pieces(const WeightSource& weights, const std::string& name) {
  const int64_t size = base::num_elements(weights.shape(name));
  std::vector<float> all(static_cast<size_t>(size));
  constexpr int64_t kPiece = 37;
  for (int64_t first = 0; first < size; first += kPiece) {
    weights.read(name,
                 first,
                 std::min(kPiece, size - first),
                 base::DType::kF32,
                 reinterpret_cast<std::byte*>(all.data() + first));
  }
  return all;
}

std::vector<float> output(const WeightSource& weights) {
  const std::string path = std::filesystem::temp_directory_path() /
                           ("ditmoe_upcycle_" + std::to_string(::getpid()) + ".safetensors");
  const DitConfig& config = weights.config();
  write_model(path, weights, write_metadata(config, {}, default_sampling(config.objective)));
  const ModelFile model = ModelFile::open(path);
  EXPECT_EQ(model.config(), config);
  base::ThreadPool pool(2);
  DitExecutor executor(model, {}, pool);
  std::filesystem::remove(path);
  constexpr int64_t kImages = 3;
  const std::vector<float> x = tests::normal_values(kImages * 3 * 64, 7);
  std::vector<float> out(static_cast<size_t>(kImages * config.output_channels() * 64));
  executor.predict(x, std::vector<float>{0, 400, 999}, std::vector<int32_t>{0, 3, 5}, out);
  return out;
}

struct Case {
  const char* name;
  DitConfig source;
  UpcycleOptions options;
  bool is_equal;
};

std::vector<Case> cases() {
  DitConfig one = moe_config();
  one.top_k = 1;
  DitConfig alternate = moe_config();
  alternate.moe_placement = MoePlacement::kAlternate;
  DitConfig normed = dense_config();
  normed.qk_norm = true;
  using enum UpcycleMethod;
  return {
      {"Shared", dense_config(), {.experts = 8}, true},
      {"SharedOfNormed", normed, {.experts = 3, .top_k = 3, .expert_width = 200}, true},
      {"SharedMoreThanNeeded", dense_config(), {.experts = 4, .shared_experts = 6}, true},
      {"SharedWithNoise", dense_config(), {.experts = 4, .noise = 0.5, .router_std = 1.0}, true},
      {"Copies", dense_config(), {.experts = 8, .method = kCopies}, true},
      {"CopiesOddCount", dense_config(), {.experts = 7, .method = kCopies, .top_k = 3}, true},
      {"CopiesAndShared",
       dense_config(),
       {.experts = 4, .method = kCopies, .shared_experts = 2},
       true},
      {"CopiesWithNoise", dense_config(), {.experts = 8, .method = kCopies, .noise = 0.1}, false},
      {"CopiesRouted", dense_config(), {.experts = 8, .method = kCopies, .router_std = 0.1}, false},
      {"MoreExperts", moe_config(), {.experts = 8}, true},
      {"ThreeTimesTheExperts", moe_config(), {.experts = 12}, true},
      {"MoreExpertsTop1", one, {.experts = 8, .top_k = 1}, true},
      {"MoreExpertsTop1To2", one, {.experts = 16, .top_k = 2}, true},
      {"MoreExpertsInHalfTheBlocks", alternate, {.experts = 8}, true},
      {"MoreExpertsTop2", moe_config(), {.experts = 8, .top_k = 2}, false},
      {"MoreExpertsWithNoise", moe_config(), {.experts = 8, .noise = 0.1}, false},
      {"MoreExpertsRouted", moe_config(), {.experts = 8, .router_std = 0.1}, false},
  };
}

class UpcycleTest : public ::testing::TestWithParam<Case> {
 protected:
  RandomWeights source_{GetParam().source, 11};
  UpcyclePlan plan_ = plan_upcycle(GetParam().source, GetParam().options, "source");
  UpcycledWeights upcycled_{source_, plan_};
};

TEST_P(UpcycleTest, OutputIsTheSourcesWhereThePlanSaysSo) {
  EXPECT_EQ(plan_.is_equal, GetParam().is_equal);
  const std::vector<float> expected = output(source_);
  const std::vector<float> found = output(upcycled_);
  EXPECT_EQ(static_cast<bool>(tests::close(found, expected, 1e-5)), GetParam().is_equal)
      << tests::close(found, expected, 1e-5).message();
}

TEST_P(UpcycleTest, PiecesAreThoseOfTheWhole) {
  for (const TensorSpec& spec : tensor_specs(plan_.config)) {
    EXPECT_EQ(upcycled_.shape(spec.name), spec.shape);
    EXPECT_EQ(in_pieces(upcycled_, spec.name), values(upcycled_, spec.name)) << spec.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Constructions,
                         UpcycleTest,
                         ::testing::ValuesIn(cases()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(UpcyclePlanTest, SizesAreThoseOfTheNewNetwork) {
  const UpcyclePlan shared = plan_upcycle(dense_config(), {.experts = 8}, "source");
  EXPECT_EQ(shared.method, UpcycleMethod::kShared);
  EXPECT_EQ(shared.config.experts, 8);
  EXPECT_EQ(shared.config.top_k, 2);
  EXPECT_EQ(shared.config.shared_experts, 4);  // 112 of 128 columns
  EXPECT_EQ(shared.config.routed_width(), 128);
  // A block gains 8 experts of width 128, a router and 16 columns of the shared SwiGLU.
  EXPECT_EQ(total_parameters(shared.config) - total_parameters(dense_config()),
            3 * (8 * 3 * 32 * 128 + 8 * 32 + 16 * 3 * 32));
  const UpcyclePlan more = plan_upcycle(moe_config(), {.experts = 12}, "source");
  EXPECT_EQ(more.method, UpcycleMethod::kCopies);
  EXPECT_EQ(more.config.top_k, 6);
  EXPECT_EQ(total_parameters(more.config) - total_parameters(moe_config()),
            3 * (8 * 3 * 32 * 128 + 8 * 32));
}

TEST(UpcyclePlanTest, CopiesThatAreAlikeAndRoutersThatAreZeroAreTold) {
  const auto plan = [](const DitConfig& source, const UpcycleOptions& options) {
    return plan_upcycle(source, options, "source");
  };
  using enum UpcycleMethod;
  EXPECT_FALSE(plan(dense_config(), {.experts = 4}).are_tied);
  EXPECT_TRUE(plan(dense_config(), {.experts = 4, .router_std = 0.0}).are_tied);
  EXPECT_FALSE(plan(dense_config(), {.experts = 4, .router_std = 0.0}).are_alike);
  EXPECT_TRUE(plan(dense_config(), {.experts = 4, .method = kCopies, .noise = 0.1}).are_tied);
  EXPECT_TRUE(plan(dense_config(), {.experts = 4, .method = kCopies}).are_alike);
  EXPECT_FALSE(plan(moe_config(), {.experts = 8}).are_tied);
  EXPECT_TRUE(plan(moe_config(), {.experts = 8}).are_alike);
}

TEST(UpcyclePlanTest, AFileHoldsAllTensors) {
  DitConfig config = dense_config();
  config.depth = 8;
  constexpr int64_t kLimit = 65536;
  constexpr int64_t kAdded = 8 * 3;  // tensors for one expert more
  const UpcyclePlan two = plan_upcycle(config, {.experts = 2}, "source");
  const auto rest = static_cast<int64_t>(tensor_specs(two.config).size()) - 2 * kAdded;
  const int64_t most = (kLimit - rest) / kAdded;
  const UpcyclePlan plan = plan_upcycle(config, {.experts = most}, "source");
  EXPECT_LE(tensor_specs(plan.config).size(), static_cast<size_t>(kLimit));
  const auto error = [&](int64_t experts) -> std::string {
    try {
      plan_upcycle(config, {.experts = experts}, "source");
    } catch (const base::Error& thrown) {
      EXPECT_EQ(thrown.kind(), base::ErrorKind::kBadInput);
      return thrown.what();
    }
    return "";
  };
  for (const int64_t experts : {most + 1, int64_t{4096}}) {
    EXPECT_THAT(error(experts), HasSubstr(fmt::format("--experts: expected at most {},", most)));
  }
}

TEST(UpcycledWeightsTest, RouterIsNormalAndExpertsBeginAtZero) {
  DitConfig config = dense_config();
  config.width = 256;
  const RandomWeights source(config, 1);
  const UpcyclePlan plan = plan_upcycle(config, {.experts = 16, .seed = 5}, "source");
  const UpcycledWeights weights(source, plan);
  const std::vector<float> router = values(weights, "blocks.1.moe.gate.weight");
  double squares = 0;
  double sum = 0;
  for (const float value : router) {
    squares += static_cast<double>(value) * value;
    sum += value;
  }
  const auto count = static_cast<double>(router.size());
  EXPECT_NEAR(std::sqrt(squares / count), 0.02, 0.001);
  EXPECT_NEAR(sum / count, 0, 4 * 0.02 / std::sqrt(count));
  EXPECT_NE(router, values(weights, "blocks.0.moe.gate.weight"));
  for (const float value : values(weights, "blocks.1.moe.experts.3.down_proj.weight")) {
    ASSERT_EQ(value, 0);
  }
  const std::vector<float> gate = values(weights, "blocks.1.moe.experts.3.gate_proj.weight");
  EXPECT_TRUE(std::ranges::none_of(gate, [](float value) { return value == 0; }));
}

TEST(UpcycledWeightsTest, SeedAndNoiseMakeTheCopies) {
  const RandomWeights source(moe_config(), 1);
  const auto made = [&](uint64_t seed, const std::string& name) {
    const UpcyclePlan plan = plan_upcycle(
        moe_config(), {.experts = 8, .noise = 0.1, .router_std = 0.01, .seed = seed}, "source");
    return values(UpcycledWeights(source, plan), name);
  };
  const std::string copy = "blocks.2.moe.experts.5.up_proj.weight";
  const std::string first = "blocks.2.moe.experts.1.up_proj.weight";
  EXPECT_EQ(made(1, copy), made(1, copy));
  EXPECT_NE(made(1, copy), made(2, copy));
  EXPECT_EQ(made(1, first), values(source, first));
  const std::vector<float> expected = values(source, first);
  const std::vector<float> found = made(1, copy);
  double squares = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double change = found[i] / expected[i] - 1;
    squares += change * change;
  }
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(found.size())), 0.1, 0.01);
  const std::vector<float> router = made(1, "blocks.2.moe.gate.weight");
  const std::vector<float> before = values(source, "blocks.2.moe.gate.weight");
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(router[i], before[i]);
    EXPECT_NE(router[before.size() + i], before[i]);
  }
}

TEST(UpcyclePlanTest, WhatCannotBeIsRefused) {
  const auto error = [](const DitConfig& source, const UpcycleOptions& options) -> std::string {
    try {
      plan_upcycle(source, options, "source");
    } catch (const base::Error& thrown) {
      EXPECT_EQ(thrown.kind(), base::ErrorKind::kBadInput);
      return thrown.what();
    }
    return "";
  };
  DitConfig gelu = dense_config();
  gelu.feed_forward = FeedForward::kGelu;
  DitConfig alternate = moe_config();
  alternate.moe_placement = MoePlacement::kAlternate;
  using enum UpcycleMethod;
  EXPECT_THAT(error(gelu, {.experts = 8}), HasSubstr("source: its MLPs are GELU"));
  EXPECT_THAT(error(dense_config(), {.experts = 1}), HasSubstr("--experts: expected a number"));
  EXPECT_THAT(error(dense_config(), {.experts = 5000}), HasSubstr("--experts"));
  EXPECT_THAT(error(dense_config(), {.experts = 4, .top_k = 5}), HasSubstr("--top-k"));
  EXPECT_THAT(error(dense_config(), {.experts = 4, .top_k = 0}), HasSubstr("--top-k"));
  EXPECT_THAT(error(dense_config(), {.experts = 4, .shared_experts = 3}),
              HasSubstr("--shared: expected at least 4"));
  EXPECT_THAT(error(dense_config(), {.experts = 4, .shared_experts = 1000}),
              HasSubstr("shared_experts must be from 0 to 256"));
  EXPECT_THAT(error(dense_config(), {.experts = 4, .noise = -1}), HasSubstr("--noise"));
  EXPECT_THAT(error(dense_config(), {.experts = 4, .noise = NAN}), HasSubstr("--noise"));
  EXPECT_THAT(error(dense_config(), {.experts = 4, .router_std = 2}), HasSubstr("--router-std"));
  EXPECT_THAT(error(dense_config(), {.experts = 4, .method = kCopies, .expert_width = 64}),
              HasSubstr("--expert-width"));
  EXPECT_THAT(error(moe_config(), {.experts = 6}), HasSubstr("a multiple of the 4 experts"));
  EXPECT_THAT(error(moe_config(), {.experts = 4}), HasSubstr("a multiple of the 4 experts"));
  EXPECT_THAT(error(moe_config(), {.experts = 8, .method = kShared}), HasSubstr("--method shared"));
  EXPECT_THAT(error(moe_config(), {.experts = 8, .shared_experts = 2}), HasSubstr("--shared"));
  EXPECT_THAT(error(alternate, {.experts = 8, .top_k = 1}), HasSubstr("dense blocks narrower"));
}

}  // namespace
}  // namespace ditmoe::networks
