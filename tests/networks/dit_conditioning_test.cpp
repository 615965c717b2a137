#include "ditmoe/networks/dit_conditioning.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/matmul.h"
#include "ditmoe/kernels/ref/silu.h"
#include "ditmoe/kernels/ref/timestep_embedding.h"
#include "ditmoe/networks/weight_source.h"

#include "tests/support/arrays.h"

namespace ditmoe::networks {
namespace {

namespace ref = kernels::ref;

using Values = std::vector<float>;

// Small enough for slots to be counted in thousands: there are as many as there may be.
constexpr int64_t kSlots = 4096;

DitConfig small_config() {
  DitConfig config;
  config.image_size = 4;
  config.channels = 1;
  config.width = 16;
  config.depth = 2;
  config.heads = 2;
  config.num_classes = 5;
  config.experts = 2;
  return config;
}

// A network's weights with what computes their modulation.
struct Network {
  explicit Network(kernels::Precision precision = kernels::Precision::kF32)
      : products(pool.size(), precision, base::chosen_isa()),
        weights(load_dit_weights(PackingSource(source, precision, products.matmul(), arena),
                                 products.matmul(),
                                 arena,
                                 pool)) {}

  DitConditioning conditioning() { return {config, weights, products, pool}; }

  // y = x W^T + b by the definition.
  Values linear(const std::string& name, const Values& x) const {
    const base::Tensor weight = source.floats(name + ".weight");
    const base::Tensor bias = source.floats(name + ".bias");
    Values y(static_cast<size_t>(weight.dim(0)));
    ref::matmul(x.data(),
                1,
                weight.as<float>().data(),
                bias.as<float>().data(),
                weight.dim(0),
                weight.dim(1),
                y.data());
    return y;
  }

  // SiLU(time + label) by the definition.
  Values condition(float t, int32_t y) const {
    Values time(256);
    ref::timestep_embedding(&t, 1, time.data());
    Values hidden = linear("t_embedder.mlp.0", time);
    ref::silu(hidden.data(), config.width, hidden.data());
    Values sum = linear("t_embedder.mlp.2", hidden);
    const base::Tensor labels = source.floats("y_embedder.embedding_table.weight");
    for (int64_t i = 0; i < config.width; ++i) sum[i] += labels.as<float>()[y * config.width + i];
    ref::silu(sum.data(), config.width, sum.data());
    return sum;
  }

  DitConfig config = small_config();
  RandomWeights source{config, 1};
  base::ThreadPool pool{2};
  base::Arena arena{size_t{2} << 20};
  kernels::Products products;
  DitWeights weights;
};

Values block_of(const DitConditioning& conditioning, int64_t layer, int64_t image) {
  const float* values = conditioning.block(layer, image);
  return {values, values + 6 * small_config().width};
}

Values last_of(const DitConditioning& conditioning, int64_t image) {
  const float* values = conditioning.last(image);
  return {values, values + 2 * small_config().width};
}

// What one image of an object that has computed nothing else gets.
void expect_like_alone(
    Network& network, const DitConditioning& conditioning, int64_t image, float t, int32_t y) {
  DitConditioning alone = network.conditioning();
  alone.prepare({&t, 1}, {&y, 1});
  for (int64_t layer = 0; layer < network.config.depth; ++layer) {
    EXPECT_EQ(block_of(conditioning, layer, image), block_of(alone, layer, 0)) << image;
  }
  EXPECT_EQ(last_of(conditioning, image), last_of(alone, 0)) << image;
}

TEST(DitConditioningTest, MatchesItsDefinition) {
  for (const auto& [precision, tolerance] :
       {std::pair{kernels::Precision::kF32, 1e-5}, {kernels::Precision::kBf16, 2e-2}}) {
    Network network(precision);
    DitConditioning conditioning = network.conditioning();
    const std::vector<float> t = {0.0f, 17.0f, 999.0f, 0.25f};
    const std::vector<int32_t> y = {0, 5, 3, 5};
    conditioning.prepare(t, y);
    for (size_t image = 0; image < t.size(); ++image) {
      const Values condition = network.condition(t[image], y[image]);
      const auto i = static_cast<int64_t>(image);
      for (int64_t layer = 0; layer < network.config.depth; ++layer) {
        const std::string name = "blocks." + std::to_string(layer) + ".adaLN_modulation.1";
        EXPECT_TRUE(tests::close(
            block_of(conditioning, layer, i), network.linear(name, condition), tolerance))
            << name << " of " << image;
      }
      EXPECT_TRUE(tests::close(last_of(conditioning, i),
                               network.linear("final_layer.adaLN_modulation.1", condition),
                               tolerance))
          << image;
    }
  }
}

TEST(DitConditioningTest, PairsThatOccurAgainAreLookedUp) {
  Network network;
  DitConditioning conditioning = network.conditioning();
  conditioning.prepare(Values{1.0f, 2.0f, 1.0f}, std::vector<int32_t>{3, 3, 3});
  EXPECT_EQ(conditioning.block(1, 0), conditioning.block(1, 2));
  EXPECT_NE(conditioning.block(1, 0), conditioning.block(1, 1));
  const float* first = conditioning.block(1, 0);
  const float* second = conditioning.block(1, 1);
  const float* last = conditioning.last(1);

  // A mark in the table would be written over if the pair were computed again.
  const_cast<float*>(first)[0] = 12345.0f;
  conditioning.prepare(Values{2.0f, 1.0f, 1.0f}, std::vector<int32_t>{3, 3, 4});
  EXPECT_EQ(conditioning.block(1, 0), second);
  EXPECT_EQ(conditioning.block(1, 1), first);
  EXPECT_EQ(conditioning.last(0), last);
  EXPECT_EQ(conditioning.block(1, 1)[0], 12345.0f);
  expect_like_alone(network, conditioning, 0, 2.0f, 3);
  expect_like_alone(network, conditioning, 2, 1.0f, 4);
}

TEST(DitConditioningTest, MoreImagesThanThereWereSlots) {
  Network network;
  DitConditioning conditioning = network.conditioning();
  constexpr int64_t kImages = kSlots + 100;
  Values t;
  std::vector<int32_t> y;
  for (int64_t image = 0; image < kImages; ++image) {
    t.push_back(static_cast<float>(image));
    y.push_back(static_cast<int32_t>(image % 6));
  }
  conditioning.prepare(Values{7.0f}, std::vector<int32_t>{1});
  conditioning.prepare(t, y);
  for (const int64_t image : {int64_t{0}, kSlots - 1, kSlots, kImages - 1}) {
    expect_like_alone(network, conditioning, image, t[image], y[image]);
  }
}

TEST(DitConditioningTest, FullTableMakesRoom) {
  Network network;
  DitConditioning conditioning = network.conditioning();
  constexpr int64_t kImages = kSlots / 2 + 100;
  for (const int64_t offset : {int64_t{0}, kImages, int64_t{0}}) {
    Values t;
    for (int64_t image = 0; image < kImages; ++image) {
      t.push_back(static_cast<float>(offset + image));
    }
    conditioning.prepare(t, std::vector<int32_t>(kImages, 2));
    for (const int64_t image : {int64_t{0}, kImages - 1}) {
      expect_like_alone(network, conditioning, image, t[image], 2);
    }
  }
}

}  // namespace
}  // namespace ditmoe::networks
