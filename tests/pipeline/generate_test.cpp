#include "ditmoe/pipeline/generate.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <gtest/gtest.h>

#include "fake_denoiser.h"

namespace ditmoe::pipeline {
namespace {

GenerateRequest request_of(std::vector<int32_t> labels) {
  GenerateRequest request;
  request.labels = std::move(labels);
  request.sampler = "ddpm";
  request.steps = 4;
  request.guidance = {2.0, true};
  request.seed = 7;
  return request;
}

std::vector<float> values(const base::Tensor& tensor) {
  const auto span = tensor.as<float>();
  return {span.begin(), span.end()};
}

TEST(GenerateTest, ImagesDoNotDependOnTheBatch) {
  GenerateRequest request = request_of({0, 1, 2, 3, 0, 1, 2});
  FakeDenoiser denoiser;
  const std::vector<float> expected = values(generate(denoiser, request));
  for (const int64_t batch : {1, 2, 3, 7, 100}) {
    request.batch = batch;
    EXPECT_EQ(values(generate(denoiser, request)), expected) << "batch " << batch;
  }
}

TEST(GenerateTest, AnImageDependsOnItsIndexAndNotOnThoseBeside) {
  FakeDenoiser denoiser;
  const std::vector<float> all = values(generate(denoiser, request_of({0, 1, 2, 1})));
  GenerateRequest last = request_of({1});
  last.first_image = 3;
  const std::vector<float> alone = values(generate(denoiser, last));
  EXPECT_TRUE(std::equal(alone.begin(), alone.end(), all.end() - 16));
  last.first_image = 2;
  EXPECT_NE(values(generate(denoiser, last)), alone);
}

TEST(GenerateTest, BatchLimitsWhatIsAskedAtOnce) {
  FakeDenoiser denoiser;
  GenerateRequest request = request_of({0, 1, 2, 0, 1});
  request.batch = 2;
  generate(denoiser, request);
  EXPECT_EQ(denoiser.largest_batch, 4);  // guidance doubles it
}

TEST(GenerateTest, ProgressCountsAllBatches) {
  FakeDenoiser denoiser;
  GenerateRequest request = request_of({0, 1, 2});
  request.batch = 2;
  std::vector<std::pair<int64_t, int64_t>> told;
  generate(
      denoiser, request, [&told](int64_t done, int64_t total) { told.emplace_back(done, total); });
  ASSERT_EQ(told.size(), 8U);
  for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(told[i], std::make_pair(i + 1, int64_t{8}));
}

TEST(GenerateTest, DefaultBatchShrinksWithTheImage) {
  EXPECT_EQ(default_batch({1, 28, 28}), 32);
  EXPECT_EQ(default_batch({4, 32, 32}), 32);
  EXPECT_EQ(default_batch({4, 64, 64}), 8);
  EXPECT_EQ(default_batch({3, 1024, 1024}), 1);
}

TEST(GenerateTest, ImagesThatAreNotFiniteAreCounted) {
  std::vector<float> values(3 * 4, 0.5F);
  EXPECT_EQ(count_not_finite(base::Tensor::from({3, 1, 2, 2}, values)), 0);
  values[3] = std::numeric_limits<float>::quiet_NaN();
  values[2] = values[3];
  values[8] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(count_not_finite(base::Tensor::from({3, 1, 2, 2}, values)), 2);
  EXPECT_EQ(count_not_finite(base::Tensor(base::DType::kF32, {0, 1, 2, 2})), 0);
}

TEST(GenerateTest, PixelsAreClampedTruncatedAndInterleaved) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  // One image of two channels of 1x3.
  const base::Tensor images =
      base::Tensor::from({1, 2, 1, 3}, std::vector<float>{-1.0F, 0.0F, 1.0F, -3.0F, 0.003F, nan});
  const base::Tensor pixels = to_uint8_NHWC(images);
  EXPECT_EQ(pixels.shape(), (base::Shape{1, 1, 3, 2}));
  const auto span = pixels.as<uint8_t>();
  EXPECT_EQ(std::vector<uint8_t>(span.begin(), span.end()),
            (std::vector<uint8_t>{0, 0, 128, 128, 255, 0}));
}

}  // namespace
}  // namespace ditmoe::pipeline
