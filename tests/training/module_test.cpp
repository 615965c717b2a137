#include <vector>

#include "ditmoe/training/dit_module.h"
#include "ditmoe/training/random_streams.h"

#include "tests/training/torch_support.h"

namespace ditmoe::training {
namespace {

using networks::DitConfig;
using networks::FeedForward;
using networks::MoePlacement;
using tests::random_batch;
using tests::randomise;
using tests::relative_error;
using tests::tiny_config;

at::Tensor predict(const DitConfig& config, const ParameterSet& parameters, Kernels kernels) {
  const torch::NoGradGuard no_grad;
  const TrainingBatch batch = random_batch(config, 3, 5);
  return DitModule(config, parameters, {kernels}).forward(batch.x_start, batch.t, batch.y).out;
}

std::vector<DitConfig> many_configs() {
  std::vector<DitConfig> configs;
  const auto add = [&](auto change) {
    configs.push_back(tiny_config());
    change(configs.back());
  };
  add([](DitConfig&) {});
  add([](DitConfig& c) { c.qk_norm = true; });
  add([](DitConfig& c) { c.feed_forward = FeedForward::kGelu; });
  add([](DitConfig& c) { c.feed_forward = FeedForward::kSwiglu; });
  add([](DitConfig& c) { c.shared_experts = 0; });
  add([](DitConfig& c) { c.shared_experts = 4; });
  add([](DitConfig& c) { c.experts = 1, c.top_k = 1; });
  add([](DitConfig& c) { c.experts = 7, c.top_k = 5, c.expert_width = 24; });
  add([](DitConfig& c) { c.moe_placement = MoePlacement::kAlternate; });
  add([](DitConfig& c) { c.moe_placement = MoePlacement::kDeepHalf; });
  add([](DitConfig& c) {
    c.feed_forward = FeedForward::kGelu;
    c.time_experts = 3, c.time_top_k = 2;
  });
  add([](DitConfig& c) { c.renormalise = true; });
  add([](DitConfig& c) {
    c.router_score = kernels::RouterScore::kSigmoid;
    c.renormalise = true;
    c.router_bias = true;
  });
  add([](DitConfig& c) { c.learn_sigma = false, c.channels = 3, c.patch_size = 2; });
  return configs;
}

TEST(DitModuleTest, NativeKernelsAgreeWithAtenInForwardAndGradients) {
  for (const DitConfig& config : many_configs()) {
    SCOPED_TRACE(networks::to_json(config).dump());
    std::vector<at::Tensor> gradients;
    std::vector<at::Tensor> outputs;
    for (const Kernels kernels : {Kernels::kNative, Kernels::kAten}) {
      ParameterSet parameters(config);
      randomise(parameters, 3);
      outputs.push_back(predict(config, parameters, kernels));
      const Losses losses =
          make_objective(config.objective)
              ->losses(DitModule(config, parameters, {kernels}), random_batch(config, 3, 5));
      losses.total().backward();
      gradients.push_back(parameters.gradients().clone());
    }
    EXPECT_LT(relative_error(outputs[0], outputs[1]), 1e-5);
    EXPECT_LT(relative_error(gradients[0], gradients[1]), 1e-4);
  }
}

TEST(DitModuleTest, RecomputedBlocksGiveTheSameNumbers) {
  for (const DitConfig& config : many_configs()) {
    SCOPED_TRACE(networks::to_json(config).dump());
    std::vector<at::Tensor> gradients;
    std::vector<double> totals;
    for (const bool recompute : {false, true}) {
      ParameterSet parameters(config);
      randomise(parameters, 3);
      const DitModule module(config, parameters, {.recompute = recompute});
      const Losses losses =
          make_objective(config.objective)->losses(module, random_batch(config, 3, 5));
      losses.total().backward();
      totals.push_back(losses.total().item<double>());
      gradients.push_back(parameters.gradients().clone());
      EXPECT_EQ(losses.network.expert_counts_E.size(), losses.network.route_index_NK.size());
    }
    EXPECT_EQ(totals[0], totals[1]);
    EXPECT_LT(relative_error(gradients[1], gradients[0]), 1e-6);
  }
}

TEST(DitModuleTest, Bfloat16IsNearF32WithAndWithoutARoundedCopy) {
  DitConfig config = tiny_config();
  config.top_k = config.experts;  // rounding then cannot change a choice
  std::vector<at::Tensor> gradients;
  for (const int variant : {0, 1, 2}) {
    ParameterSet parameters(config);
    randomise(parameters, 3);
    if (variant == 2) parameters.keep_half();
    const DitModule module(
        config, parameters, {.precision = variant == 0 ? Precision::kF32 : Precision::kBf16});
    make_objective(config.objective)->losses(module, random_batch(config, 3, 5)).total().backward();
    gradients.push_back(parameters.gradients().clone());
  }
  EXPECT_TRUE(gradients[1].equal(gradients[2]));
  EXPECT_FALSE(gradients[0].equal(gradients[1]));
  const double error = ((gradients[1] - gradients[0]).norm() / gradients[0].norm()).item<double>();
  EXPECT_LT(error, 0.03);
}

// One parameter of each kind, moved by central differences of the loss.
TEST(DitModuleTest, GradientsAgreeWithFiniteDifferences) {
  DitConfig config = tiny_config();
  config.qk_norm = true;
  ParameterSet parameters(config);
  randomise(parameters, 3);
  const DitModule module(config, parameters, {Kernels::kNative});
  const TrainingBatch batch = random_batch(config, 4, 5);
  const auto objective = make_objective(networks::Objective::kRectifiedFlow);
  TrainingBatch flow = batch;
  flow.t = at::tensor({0.1F, 0.4F, 0.6F, 0.9F});
  objective->losses(module, flow).total().backward();
  const torch::NoGradGuard no_grad;
  const auto loss = [&] { return objective->losses(module, flow).total().item<double>(); };
  for (const char* name : {"x_embedder.proj.weight",
                           "t_embedder.mlp.0.bias",
                           "y_embedder.embedding_table.weight",
                           "blocks.0.attn.qkv.weight",
                           "blocks.0.attn.q_norm.weight",
                           "blocks.1.attn.proj.bias",
                           "blocks.0.moe.gate.weight",
                           "blocks.1.moe.experts.0.gate_proj.weight",
                           "blocks.1.moe.experts.2.down_proj.weight",
                           "blocks.0.moe.shared_experts.up_proj.weight",
                           "blocks.0.adaLN_modulation.1.weight",
                           "final_layer.adaLN_modulation.1.bias",
                           "final_layer.linear.weight"}) {
    SCOPED_TRACE(name);
    const at::Tensor& tensor = parameters[name];
    const at::Tensor direction = tensor.grad() / tensor.grad().norm();
    constexpr double kStep = 2e-3;
    tensor.add_(direction, kStep);
    const double above = loss();
    tensor.sub_(direction, 2.0 * kStep);
    const double below = loss();
    tensor.add_(direction, kStep);
    const double expected = tensor.grad().norm().item<double>();
    EXPECT_NEAR((above - below) / (2.0 * kStep), expected, 0.02 * expected + 1e-3);
  }
}

// With one expert every router weight is 1, so the block is the dense control of its width.
TEST(DitModuleTest, OneExpertIsTheDenseControl) {
  DitConfig moe = tiny_config();
  moe.experts = 1;
  moe.top_k = 1;
  moe.shared_experts = 0;
  DitConfig dense = moe;
  dense.feed_forward = FeedForward::kSwiglu;
  ParameterSet sparse_set(moe);
  ParameterSet dense_set(dense);
  randomise(sparse_set, 3);
  const torch::NoGradGuard no_grad;
  for (const networks::TensorSpec& spec : dense_set.specs()) {
    std::string name = spec.name;
    const size_t mlp = name.find(".mlp.");
    const bool feed_forward = mlp != std::string::npos && name.starts_with("blocks.");
    if (feed_forward) name.replace(mlp, 5, ".moe.experts.0.");
    at::Tensor target = dense_set[spec.name];
    target.copy_(sparse_set[name]);
  }
  EXPECT_LT(relative_error(predict(moe, sparse_set, Kernels::kNative),
                           predict(dense, dense_set, Kernels::kNative)),
            1e-5);
}

TEST(DitModuleTest, RoutingBreaksTiesByTheLowestIndexAndSortsByExpert) {
  DitConfig config = tiny_config();
  ParameterSet parameters(config);
  randomise(parameters, 3);
  const torch::NoGradGuard no_grad;
  at::Tensor router = parameters["blocks.0.moe.gate.weight"];
  router.zero_();  // all logits equal
  const TrainingBatch batch = random_batch(config, 2, 5);
  const DitOutput result = DitModule(config, parameters).forward(batch.x_start, batch.t, batch.y);
  const at::Tensor expected = at::tensor({0, 1}, at::kLong).expand_as(result.route_index_NK[0]);
  EXPECT_TRUE(result.route_index_NK[0].equal(expected));
  EXPECT_TRUE(result.expert_counts_E[0].equal(at::tensor({8, 8, 0, 0}, at::kLong)));
  const at::Tensor second = result.route_index_NK[1];
  EXPECT_TRUE((second.select(1, 0) < second.select(1, 1)).all().item<bool>());
}

TEST(TimestepEmbeddingTest, IsCosineThenSine) {
  const at::Tensor embedding = timestep_embedding(at::tensor({0.0F, 2.0F}));
  EXPECT_EQ(embedding.sizes(), at::IntArrayRef({2, 256}));
  EXPECT_TRUE(embedding[0].narrow(0, 0, 128).eq(1.0).all().item<bool>());
  EXPECT_TRUE(embedding[0].narrow(0, 128, 128).eq(0.0).all().item<bool>());
  EXPECT_NEAR(embedding[1][0].item<double>(), std::cos(2.0), 1e-6);
  EXPECT_NEAR(embedding[1][128].item<double>(), std::sin(2.0), 1e-6);
}

TEST(InitialiseTest, FollowsTheReference) {
  const DitConfig config = networks::preset("S/2-8E2A");
  DitConfig small = config;
  small.depth = 1;
  small.qk_norm = true;
  ParameterSet parameters(small);
  initialise(parameters, 7);
  const torch::NoGradGuard no_grad;
  const auto deviation = [&](const char* name) { return parameters[name].std().item<double>(); };
  const auto largest = [&](const char* name) {
    return parameters[name].abs().max().item<double>();
  };
  EXPECT_EQ(largest("blocks.0.adaLN_modulation.1.weight"), 0.0);
  EXPECT_EQ(largest("final_layer.linear.weight"), 0.0);
  EXPECT_EQ(largest("blocks.0.attn.qkv.bias"), 0.0);
  EXPECT_TRUE(parameters["blocks.0.attn.q_norm.weight"].eq(1.0).all().item<bool>());
  EXPECT_NEAR(deviation("y_embedder.embedding_table.weight"), 0.02, 5e-4);
  EXPECT_NEAR(deviation("t_embedder.mlp.2.weight"), 0.02, 5e-4);
  const double qkv_bound = std::sqrt(6.0 / (384.0 + 3.0 * 384.0));
  EXPECT_LE(largest("blocks.0.attn.qkv.weight"), qkv_bound);
  EXPECT_GT(largest("blocks.0.attn.qkv.weight"), 0.99 * qkv_bound);
  const double router_bound = 1.0 / std::sqrt(384.0);
  EXPECT_LE(largest("blocks.0.moe.gate.weight"), router_bound);
  EXPECT_GT(largest("blocks.0.moe.gate.weight"), 0.99 * router_bound);

  ParameterSet other(small);
  initialise(other, 7);
  EXPECT_TRUE(parameters.values().equal(other.values()));
  initialise(other, 8);
  EXPECT_FALSE(parameters.values().equal(other.values()));
}

}  // namespace
}  // namespace ditmoe::training
