#include "ditmoe/pipeline/vae_encoder.h"

#include <gtest/gtest.h>

#include "ditmoe/base/tensor.h"

#include "tests/formats/allocation_watch.h"

namespace ditmoe::pipeline {
namespace {

networks::VaeConfig small_config() {
  networks::VaeConfig config;
  config.channels = 32;
  config.widths = {32, 64};
  config.num_res_blocks = 1;
  config.level_attention = {false, false};
  return config;
}

std::string fingerprint_of(const networks::VaeConfig& config, uint64_t seed = 1) {
  return encoder_fingerprint(*networks::random_vae(config, seed));
}

TEST(EncoderFingerprintTest, DiffersWithWeightsAndConfiguration) {
  const std::string fingerprint = fingerprint_of(small_config());
  EXPECT_EQ(fingerprint.size(), 16U);
  EXPECT_EQ(fingerprint_of(small_config()), fingerprint);
  EXPECT_NE(fingerprint_of(small_config(), 2), fingerprint);
  networks::VaeConfig config = small_config();
  config.groups = 16;  // of which the tensors know nothing
  EXPECT_NE(fingerprint_of(config), fingerprint);
}

TEST(VaeEncoderTest, TakesNoMoreMemoryForManyImagesThanForOne) {
  constexpr int64_t kImages = 32;
  constexpr int64_t kSize = 32;
  base::ThreadPool pool(1);
  VaeEncoder encoder(std::string(DITMOE_TEST_DATA) + "/vae_small/model.safetensors", {}, pool);
  const auto values = static_cast<size_t>(base::num_elements(encoder.latent_shape(kSize)));
  base::Tensor images(base::DType::kU8, {kImages, kSize, kSize, 3});
  for (uint32_t state = 1; uint8_t & pixel : images.as<uint8_t>()) {
    state = state * 1664525 + 1013904223;
    pixel = static_cast<uint8_t>(state >> 24);
  }
  std::vector<float> mean(kImages * values);
  std::vector<float> logvar(mean.size());
  const auto encode_one = [&](int64_t image) {
    base::TensorView view = images.view();
    view.shape[0] = 1;
    view.data += static_cast<size_t>(image) * view.bytes();
    const size_t begin = static_cast<size_t>(image) * values;
    encoder.encode(
        view, std::span(mean).subspan(begin, values), std::span(logvar).subspan(begin, values));
  };
  for (int64_t image = 0; image < kImages; ++image) encode_one(image);
  const std::vector<float> means = mean;
  const std::vector<float> logvars = logvar;
  size_t for_one = 0;
  {
    const formats::test::AllocationWatch watch;
    encode_one(0);
    for_one = watch.peak();
  }
  const formats::test::AllocationWatch watch;
  encoder.encode(images.view(), mean, logvar);
  EXPECT_LT(watch.peak(), for_one + images.bytes());  // as floats they take four times that
  EXPECT_EQ(mean, means);
  EXPECT_EQ(logvar, logvars);
}

}  // namespace
}  // namespace ditmoe::pipeline
