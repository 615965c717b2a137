#include "ditmoe/networks/dit_executor.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

#include "random_networks.h"

namespace ditmoe::networks {
namespace {

// Every way to compute on this CPU.
std::vector<ExecutorOptions> all_options() {
  using base::Isa;
  std::vector<ExecutorOptions> all;
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Bf16}) {
    if (isa > base::chosen_isa()) continue;
    for (const auto precision :
         {kernels::Precision::kF32, kernels::Precision::kBf16, kernels::Precision::kInt8}) {
      all.push_back({precision, isa});
    }
  }
  return all;
}

std::string name_of(const ExecutorOptions& options) {
  return std::string(to_word(options.precision)) + " on " + std::string(name_of(options.isa));
}

// Mean squared error over mean square.
double normalised_error(const std::vector<float>& actual, const std::vector<float>& exact) {
  double error = 0;
  double power = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    error += std::pow(static_cast<double>(actual[i]) - exact[i], 2);
    power += std::pow(static_cast<double>(exact[i]), 2);
  }
  return error / power;
}

TEST(DitExecutorTest, AnyNumberOfSharedExpertsMatchesTheDefinition) {
  for (const int64_t shared : {0, 1, 2, 4}) {
    DitConfig config = small_config();
    config.shared_experts = shared;
    expect_matches_definition(config);
  }
}

TEST(DitExecutorTest, AnyNumberOfExpertsAndChoicesMatchesTheDefinition) {
  for (const auto& [experts, top_k] : {std::pair{1, 1}, {2, 1}, {3, 3}, {16, 2}, {8, 5}}) {
    DitConfig config = small_config();
    config.experts = experts;
    config.top_k = top_k;
    expect_matches_definition(config);
  }
}

TEST(DitExecutorTest, EveryPlacementMatchesTheDefinition) {
  for (const MoePlacement placement :
       {MoePlacement::kEvery, MoePlacement::kAlternate, MoePlacement::kDeepHalf}) {
    DitConfig config = small_config();
    config.depth = 4;
    config.moe_placement = placement;
    expect_matches_definition(config);
  }
}

TEST(DitExecutorTest, DenseNetworksMatchTheDefinition) {
  for (const FeedForward feed_forward : {FeedForward::kGelu, FeedForward::kSwiglu}) {
    DitConfig config = small_config();
    config.feed_forward = feed_forward;
    expect_matches_definition(config);
  }
}

TEST(DitExecutorTest, HeadSizesOfThePresetsMatchTheDefinition) {
  for (const int64_t head_dim : {64, 72, 88}) {
    for (const bool qk_norm : {false, true}) {
      DitConfig config = small_config();
      config.heads = 2;
      config.width = 2 * head_dim;
      config.qk_norm = qk_norm;
      expect_matches_definition(config);
    }
  }
}

TEST(DitExecutorTest, OddShapesMatchTheDefinition) {
  DitConfig one_token = small_config();
  one_token.patch_size = one_token.image_size;
  expect_matches_definition(one_token);

  DitConfig odd = small_config();
  odd.image_size = 21;
  odd.patch_size = 3;
  odd.channels = 1;
  odd.width = 36;
  odd.heads = 3;
  odd.expert_width = 401;  // two chunks of hidden columns, the second odd
  odd.learn_sigma = false;
  expect_matches_definition(odd);

  DitConfig sigmoid = small_config();
  sigmoid.router_score = kernels::RouterScore::kSigmoid;
  sigmoid.renormalise = true;
  sigmoid.router_bias = true;
  expect_matches_definition(sigmoid);

  DitConfig renormalised = small_config();
  renormalised.renormalise = true;
  expect_matches_definition(renormalised);

  DitConfig many_tokens = small_config();
  many_tokens.image_size = 30;  // 225 tokens: more than one tile an image
  expect_matches_definition(many_tokens);
}

// Where every expert is chosen, rounding cannot change the choice: what is left is the error of the
// arithmetic itself.
TEST(DitExecutorTest, EveryPrecisionAndInstructionSetIsCloseToTheDefinition) {
  std::vector<DitConfig> configs(6, small_config());
  configs[4] = switch_config(3, 2);  // whose choice is made in f32 whatever the precision
  configs[5] = switch_config(5, 5);
  configs[5].width = 36;
  configs[0].top_k = configs[0].experts;
  configs[0].expert_width = 401;
  configs[1].top_k = configs[1].experts;
  configs[1].qk_norm = true;
  configs[2].feed_forward = FeedForward::kGelu;
  configs[3].feed_forward = FeedForward::kSwiglu;
  configs[3].width = 36;
  for (const DitConfig& config : configs) {
    const ModelFile model = random_model(config);
    const Batch batch(config, 2);
    const std::vector<float> exact = predict(model, batch);
    for (const ExecutorOptions& options : all_options()) {
      const double bound = options.precision == kernels::Precision::kF32    ? 1e-10
                           : options.precision == kernels::Precision::kBf16 ? 1e-4
                                                                            : 1e-3;
      EXPECT_LT(normalised_error(predict(model, batch, 2, options), exact), bound)
          << name_of(options) << " " << to_json(config).dump();
    }
  }
}

TEST(DitExecutorTest, AllTokensMayGoToOneExpert) {
  const DitConfig config = small_config();
  Weights weights = random_weights(config);
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    // Equal logits everywhere: ties are broken towards experts 0 and 1.
    for (float& value :
         weights["blocks." + std::to_string(layer) + ".moe.gate.weight"].as<float>()) {
      value = 0.0f;
    }
  }
  const ModelFile model = model_of(config, weights);
  expect_matches_definition(config, model);

  Batch batch(config, 1);
  base::ThreadPool pool(1);
  RoutingTrace trace;
  DitExecutor(model, {}, pool).predict_traced(batch.x, batch.t, batch.y, batch.out, trace);
  for (size_t i = 0; i < trace.index.size(); ++i) {
    EXPECT_EQ(trace.index[i], static_cast<int32_t>(i % 2));
    EXPECT_FLOAT_EQ(trace.weight[i], 0.25f);
  }
}

TEST(DitExecutorTest, OneExpertWithWeightOneIsTheDenseControl) {
  DitConfig sparse = small_config();
  sparse.experts = 1;
  sparse.top_k = 1;
  sparse.shared_experts = 0;
  Weights weights = random_weights(sparse);
  const std::vector<float> routed = predict(model_of(sparse, weights), Batch(sparse, 3));

  DitConfig dense = sparse;
  dense.feed_forward = FeedForward::kSwiglu;
  Weights renamed;
  for (auto& [name, tensor] : weights) {
    std::string to = name;
    if (const size_t at = name.find("moe.experts.0"); at != std::string::npos) {
      to.replace(at, std::string("moe.experts.0").size(), "mlp");
    } else if (name.find("moe.gate") != std::string::npos) {
      continue;
    }
    renamed.emplace(to, std::move(tensor));
  }
  EXPECT_EQ(predict(model_of(dense, renamed), Batch(dense, 3)), routed);
}

void expect_bits_of_an_image_alone(const DitConfig& config) {
  const ModelFile model = random_model(config);
  for (const ExecutorOptions& options : all_options()) {
    SCOPED_TRACE(name_of(options));
    constexpr int64_t kImages = 9;
    const Batch all(config, kImages);
    const std::vector<float> expected = predict(model, all, 1, options);
    for (const int threads : {2, 3, 7}) {
      EXPECT_EQ(predict(model, all, threads, options), expected) << threads << " threads";
    }
    base::ThreadPool pool(2);
    DitExecutor executor(model, options, pool);
    const size_t in = all.x.size() / kImages;
    const size_t out = all.out.size() / kImages;
    for (const auto& [first, images] : {std::pair<size_t, size_t>{0, 1}, {4, 1}, {8, 1}, {3, 5}}) {
      std::vector<float> some(images * out);
      executor.predict(std::span(all.x).subspan(first * in, images * in),
                       std::span(all.t).subspan(first, images),
                       std::span(all.y).subspan(first, images),
                       some);
      EXPECT_EQ(some,
                std::vector<float>(expected.begin() + static_cast<int64_t>(first * out),
                                   expected.begin() + static_cast<int64_t>((first + images) * out)))
          << images << " images from " << first;
    }
  }
}

TEST(DitExecutorTest, BitsOfAnImageDependNeitherOnTheBatchNorOnTheThreads) {
  DitConfig config = small_config();
  config.image_size = 14;  // 49 tokens, so that tiles begin and end inside images
  config.qk_norm = true;
  expect_bits_of_an_image_alone(config);
  DitConfig by_time = switch_config(4, 2);
  by_time.image_size = 14;
  expect_bits_of_an_image_alone(by_time);
}

TEST(DitExecutorTest, NanImageDoesNotReachItsNeighbours) {
  const DitConfig config = small_config();
  const ModelFile model = random_model(config);
  Batch batch(config, 3);
  const std::vector<float> clean = predict(model, batch);
  batch.x[batch.x.size() / 2] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> spoilt = predict(model, batch);
  const auto third = static_cast<int64_t>(clean.size() / 3);
  EXPECT_TRUE(std::equal(clean.begin(), clean.begin() + third, spoilt.begin()));
  EXPECT_TRUE(std::equal(clean.end() - third, clean.end(), spoilt.end() - third));
  EXPECT_TRUE(std::isnan(spoilt[clean.size() / 2]));
}

TEST(DitExecutorTest, LabelOutOfRangeIsRefused) {
  const DitConfig config = small_config();
  const ModelFile model = random_model(config);
  base::ThreadPool pool(1);
  DitExecutor executor(model, {}, pool);
  EXPECT_EQ(executor.num_classes(), 5);
  Batch batch(config, 2);
  batch.y[1] = 5;  // the null label
  EXPECT_NO_THROW(executor.predict(batch.x, batch.t, batch.y, batch.out));
  for (const int32_t label : {-1, 6, 1000}) {
    batch.y[1] = label;
    try {
      executor.predict(batch.x, batch.t, batch.y, batch.out);
      ADD_FAILURE() << "label " << label << " was accepted";
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
      EXPECT_NE(std::string(error.what()).find(std::to_string(label)), std::string::npos);
    }
  }
}

TEST(DitExecutorTest, ErrorLeavesTheExecutorUsable) {
  const DitConfig config = small_config();
  const ModelFile model = random_model(config);
  base::ThreadPool pool(2);
  DitExecutor executor(model, {}, pool);
  Batch batch(config, 2);
  std::vector<int32_t> wrong = {0, 99};
  EXPECT_THROW(executor.predict(batch.x, batch.t, wrong, batch.out), base::Error);
  executor.predict(batch.x, batch.t, batch.y, batch.out);
  EXPECT_EQ(batch.out, predict(model, batch));
}

}  // namespace
}  // namespace ditmoe::networks
