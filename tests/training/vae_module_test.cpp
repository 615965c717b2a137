#include "ditmoe/training/vae_module.h"

#include <cmath>

#include "ditmoe/formats/npz.h"
#include "ditmoe/networks/vae.h"

#include "tests/formats/temp_dir.h"
#include "tests/training/torch_support.h"

namespace ditmoe::training {
namespace {

using formats::test::TempDir;
using kernels::Precision;
using networks::VaeConfig;
using tests::random_tensor;
using tests::relative_error;

// Two levels, attention in the middle.
VaeConfig tiny() {
  return {.channels = 8,
          .widths = {8, 16},
          .num_res_blocks = 1,
          .z_channels = 2,
          .latent_channels = 2,
          .level_attention = {false, false},
          .groups = 4};
}

std::vector<VaeConfig> many_configs() {
  std::vector<VaeConfig> configs;
  const auto add = [&](auto change) {
    configs.push_back(tiny());
    change(configs.back());
  };
  add([](VaeConfig&) {});
  add([](VaeConfig& c) { c.middle_attention = false; });
  add([](VaeConfig& c) { c.quant_conv = false; });
  add([](VaeConfig& c) { c.z_channels = 3, c.latent_channels = 5; });
  add([](VaeConfig& c) { c.image_channels = 1, c.num_res_blocks = 2; });
  add([](VaeConfig& c) { c.widths = {8}, c.level_attention = {true}; });
  add([](VaeConfig& c) {
    c.channels = 12;
    c.widths = {8, 8, 16};
    c.level_attention = {false, true, false};
  });
  return configs;
}

at::Tensor random_values(const FlatLayout& layout, const VaeConfig& config, uint64_t seed) {
  const auto weights = networks::random_vae(config, seed);
  at::Tensor values = at::zeros({layout.size()});
  for (size_t i = 0; i < layout.specs().size(); ++i) {
    const base::Tensor weight = weights->read(layout.specs()[i].name);
    std::copy_n(weight.as<float>().data(), weight.size(), layout.view(values, i).data_ptr<float>());
  }
  return values;
}

std::span<float> span_of(at::Tensor& tensor) {
  return {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

// What networks::Vae makes of a file with these weights.
struct Executed {
  at::Tensor mean, logvar, decoded;
};

Executed execute(const std::string& path, const at::Tensor& images, const at::Tensor& latents) {
  base::ThreadPool pool(2);
  networks::Vae vae(networks::open_vae(path), {}, pool);
  const int64_t factor = vae.config().factor();
  const int64_t height = images.size(2);
  const int64_t width = images.size(3);
  Executed result;
  result.mean = at::empty(
      {images.size(0), vae.config().latent_channels, height / factor, width / factor}, at::kFloat);
  result.logvar = at::empty_like(result.mean);
  result.decoded = at::empty_like(images);
  at::Tensor source = images.contiguous();
  at::Tensor latent_source = latents.contiguous();
  vae.encode(span_of(source), height, width, span_of(result.mean), span_of(result.logvar));
  vae.decode(span_of(latent_source), latents.size(2), latents.size(3), span_of(result.decoded));
  return result;
}

TEST(VaeModuleTest, AgreesWithTheExecutor) {
  const TempDir folder;
  const std::string path = folder.file("vae.safetensors");
  for (const VaeConfig& config : many_configs()) {
    SCOPED_TRACE(fmt::format("{} levels, {} channels", config.levels(), config.channels));
    const FlatLayout layout(networks::tensor_specs(config));
    const at::Tensor values = random_values(layout, config, 3);
    formats::write_safetensors(
        path, layout.named(values), networks::vae_metadata({.groups = config.groups}));
    EXPECT_EQ(networks::open_vae(path)->config(), config);
    const int64_t factor = config.factor();
    const at::Tensor images = random_tensor({2, config.image_channels, 8, 12}, 1, 0.5);
    const at::Tensor latents =
        random_tensor({2, config.latent_channels, 8 / factor, 12 / factor}, 2);
    const Executed expected = execute(path, images, latents);
    const torch::NoGradGuard no_grad;
    const Leaves weights(layout, values, false);
    const VaeModule module(config, weights);
    const Posterior posterior = module.encode(images);
    EXPECT_LT(relative_error(posterior.mean, expected.mean), 1e-4);
    EXPECT_LT(relative_error(posterior.logvar, expected.logvar), 1e-4);
    EXPECT_LT(relative_error(module.decode(latents), expected.decoded), 1e-4);
    const VaeModule half(config, weights, Precision::kBf16);
    EXPECT_LT(relative_error(half.encode(images).mean, expected.mean), 5e-2);
    EXPECT_LT(relative_error(half.decode(latents), expected.decoded), 5e-2);
  }
}

TEST(VaeModuleTest, AgreesWithTheReference) {
  const std::string folder = std::string(DITMOE_TEST_DATA) + "/vae_small/";
  const auto weights_file = networks::open_vae(folder + "model.safetensors");
  const VaeConfig& config = weights_file->config();
  const FlatLayout layout(networks::tensor_specs(config));
  at::Tensor values = at::zeros({layout.size()});
  for (size_t i = 0; i < layout.specs().size(); ++i) {
    const base::Tensor weight = weights_file->read(layout.specs()[i].name);
    std::copy_n(weight.as<float>().data(), weight.size(), layout.view(values, i).data_ptr<float>());
  }
  const auto arrays = formats::read_npz(folder + "io.npz");
  const auto array = [&](const char* name) {
    const base::Tensor& found = arrays.at(name);
    at::Tensor copy = at::empty(found.shape(), at::kFloat);
    std::copy_n(found.as<float>().data(), found.size(), copy.data_ptr<float>());
    return copy;
  };
  const torch::NoGradGuard no_grad;
  const Leaves weights(layout, values, false);
  const VaeModule module(config, weights);
  const Posterior posterior = module.encode(array("image"));
  EXPECT_LT(relative_error(posterior.mean, array("mean")), 1e-4);
  EXPECT_LT(relative_error(posterior.logvar, array("logvar_clamped")), 1e-4);
  EXPECT_LT(relative_error(module.decode(array("latent")), array("decoded")), 1e-4);
}

// Along the gradient of each tensor the loss changes as fast as the gradient is long.
TEST(VaeModuleTest, GradientsAreThoseOfFiniteDifferences) {
  const VaeConfig config = tiny();
  const FlatLayout layout(networks::tensor_specs(config));
  at::Tensor values = random_values(layout, config, 5);
  const Leaves weights(layout, values, true);
  const VaeModule module(config, weights);
  const at::Tensor images = random_tensor({2, 3, 8, 8}, 1, 0.5);
  const at::Tensor noise = random_tensor({2, 2, 4, 4}, 2);
  const auto loss = [&] {
    const Posterior posterior = module.encode(images);
    const at::Tensor decoded = module.decode(posterior.sample(noise));
    return (decoded - images).square().mean() + 0.1 * posterior.divergence();
  };
  loss().backward();
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < layout.specs().size(); ++i) {
    SCOPED_TRACE(layout.specs()[i].name);
    at::Tensor tensor = layout.view(values, i);
    const at::Tensor gradient = layout.view(weights.gradients(), i);
    const double expected = gradient.norm().item<double>();
    // The keys' bias moves all scores of a query alike, which a softmax does not see.
    if (expected < 1e-6) continue;
    const at::Tensor direction = gradient / expected;
    constexpr double kStep = 2e-3;
    tensor.add_(direction, kStep);
    const double above = loss().item<double>();
    tensor.sub_(direction, 2.0 * kStep);
    const double below = loss().item<double>();
    tensor.add_(direction, kStep);
    EXPECT_NEAR((above - below) / (2.0 * kStep), expected, 0.02 * expected + 3e-4);
  }
}

TEST(VaeModuleTest, BeginsAsTheSeedSays) {
  const VaeConfig config = tiny();
  const FlatLayout layout(networks::tensor_specs(config));
  at::Tensor first = at::full({layout.size()}, 7.0);
  at::Tensor second = at::zeros({layout.size()});
  initialise_vae(layout, first, 1);
  initialise_vae(layout, second, 1);
  EXPECT_TRUE(first.equal(second));
  initialise_vae(layout, second, 2);
  EXPECT_FALSE(first.equal(second));
  const auto of = [&](const char* name) { return layout.view(first, layout.index_of(name)); };
  EXPECT_EQ(of("encoder.mid.block_1.conv2.weight").abs().max().item<double>(), 0.0);
  EXPECT_EQ(of("decoder.mid.attn_1.proj_out.weight").abs().max().item<double>(), 0.0);
  EXPECT_TRUE(of("encoder.norm_out.weight").eq(1.0).all().item<bool>());
  const double deviation = of("encoder.mid.block_1.conv1.weight").std().item<double>();
  EXPECT_NEAR(deviation, 1.0 / std::sqrt(9.0 * 16.0), 2e-3);
}

TEST(PosteriorTest, DivergenceIsThatOfGaussians) {
  const Posterior standard = {at::zeros({1, 2, 2, 2}), at::zeros({1, 2, 2, 2})};
  EXPECT_EQ(standard.divergence().item<double>(), 0.0);
  const Posterior other = {at::full({1, 1, 1, 1}, 3.0), at::full({1, 1, 1, 1}, std::log(4.0))};
  EXPECT_NEAR(other.divergence().item<double>(), 0.5 * (9.0 + 4.0 - 1.0 - std::log(4.0)), 1e-5);
  EXPECT_NEAR(other.sample(at::full({1, 1, 1, 1}, -0.5)).item<double>(), 2.0, 1e-6);
}

}  // namespace
}  // namespace ditmoe::training
