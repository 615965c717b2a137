#include "ditmoe/training/recipe.h"

#include <filesystem>
#include <gmock/gmock.h>
#include <string>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

namespace ditmoe::training {
namespace {

using ::testing::HasSubstr;

constexpr const char* kMinimal = R"(
kind = "dit"
[model]
image_size = 28
patch_size = 4
channels = 1
width = 32
depth = 2
heads = 2
num_classes = 10
[train]
steps = 100
batch_size = 8
)";

Recipe read(const std::string& extra) {
  auto document = formats::TomlDocument::parse(kMinimal + extra, "test.toml");
  return read_recipe(document);
}

std::string fault(const std::string& assignment) {
  auto document = formats::TomlDocument::parse(kMinimal, "test.toml");
  try {
    document.set(assignment);
    read_recipe(document);
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
    return error.what();
  }
  return "";
}

TEST(RecipeTest, DefaultsAreThePapers) {
  const Recipe recipe = read("");
  EXPECT_EQ(recipe.rate.peak, 1e-4);
  EXPECT_EQ(recipe.adamw.beta2, 0.999);
  EXPECT_EQ(recipe.adamw.weight_decay, 0.0);
  EXPECT_EQ(recipe.label_dropout, 0.1);
  EXPECT_EQ(recipe.model.balance_factor, 0.005);
  EXPECT_EQ(recipe.model.balance_pool, networks::BalancePool::kSequence);
}

TEST(RecipeTest, FaultsNameTheKey) {
  EXPECT_THAT(fault("train.lrr=1"), HasSubstr("train.lr"));
  EXPECT_THAT(fault("train.batch_size=\"many\""), HasSubstr("train.batch_size"));
  EXPECT_THAT(fault("train.accumulation=3"), HasSubstr("multiple of train.accumulation = 3"));
  EXPECT_THAT(fault("train.steps=0"), HasSubstr("train.steps"));
  EXPECT_THAT(fault("train.lr=-1.0"), HasSubstr("train.lr"));
  EXPECT_THAT(fault("train.lr=nan"), HasSubstr("train.lr"));
  EXPECT_THAT(fault("train.label_dropout=1.0"), HasSubstr("train.label_dropout"));
  EXPECT_THAT(fault("train.lr_schedule=\"linear\""), HasSubstr("\"cosine\""));
  EXPECT_THAT(fault("model.feed_forward=\"moo\""), HasSubstr("moo"));
  EXPECT_THAT(fault("model.heads=3"), HasSubstr("heads"));
  EXPECT_THAT(fault("model.top_k=9"), HasSubstr("top_k"));
  EXPECT_THAT(fault("output.sampler=\"dddim\""), HasSubstr("ddim"));
  EXPECT_THAT(fault("output.sampler=\"euler\""), HasSubstr("objective ddpm"));
  EXPECT_THAT(fault("output.sampler_steps=2000"), HasSubstr("output.sampler"));
  EXPECT_THAT(fault("output.export_dtype=\"f8\""), HasSubstr("bf16"));
  EXPECT_THAT(fault("data.kind=\"cifar\""), HasSubstr("fashion_mnist"));
  EXPECT_THAT(fault("data.kind=\"image_folder\""), HasSubstr("data.folder"));
  EXPECT_THAT(fault("data.split=\"both\""), HasSubstr("data.split"));
  EXPECT_THAT(fault("train.precision=\"int8\""), HasSubstr("\"bf16\""));
  EXPECT_THAT(fault("train.on_fault=\"pray\""), HasSubstr("rollback"));
  EXPECT_THAT(fault("train.batch_size=4611686018427387904"), HasSubstr("train.batch_size"));
  EXPECT_THAT(fault("model.router_score=\"tanh\""), HasSubstr("sigmoid"));
  EXPECT_EQ(fault("train.lr=0.5"), "");
}

TEST(RecipeTest, APresetIsTheBaseOfAModel) {
  auto document = formats::TomlDocument::parse(R"(
[model]
preset = "S/2-8E2A"
experts = 4
[data]
kind = "latents"
folder = "latents"
[train]
steps = 1
batch_size = 8
)",
                                               "test.toml");
  const Recipe recipe = read_recipe(document);
  EXPECT_EQ(recipe.model.width, 384);
  EXPECT_EQ(recipe.model.experts, 4);
  EXPECT_EQ(recipe.data[0].channels, 4);
  EXPECT_THAT(fault("model.preset=\"T/2\""), HasSubstr("model.preset"));
}

TEST(RecipeTest, MixturesHaveATableForEachPart) {
  const Recipe recipe = read(R"(
spike = 8.0
on_fault = "skip"
[data]
mixture = ["real", "synthetic"]
workers = 2
[data.real]
kind = "latents"
folder = "real-latents"
[data.synthetic]
kind = "latents"
folder = "synthetic-latents"
weight = 5
flip = true
[held_out]
kind = "latents"
folder = "held-out"
images = 100
)");
  ASSERT_EQ(recipe.data.size(), 2U);
  EXPECT_EQ(recipe.data[1].folder, "synthetic-latents");
  EXPECT_EQ(recipe.data[1].weight, 5);
  EXPECT_TRUE(recipe.data[1].flip);
  EXPECT_EQ(recipe.data_keys[0], "data.real");
  EXPECT_EQ(recipe.data[0].image_size, 28);
  EXPECT_EQ(recipe.held_out->folder, "held-out");
  EXPECT_EQ(recipe.held_out_images, 100);
  EXPECT_EQ(recipe.faults.policy, FaultPolicy::kSkip);
  EXPECT_EQ(recipe.faults.spike, 8.0);
}

TEST(RecipeTest, ShippedRecipesAreValid) {
  for (const char* name :
       {"avatars_moe", "fashion_mnist", "fashion_mnist_dense", "imagenet_s2_8e2a", "smoke"}) {
    auto document = formats::TomlDocument::open(
        fmt::format("{}/../../recipes/{}.toml", DITMOE_TEST_DATA, name));
    EXPECT_NO_THROW(read_recipe(document)) << name;
  }
}

TEST(RecipeTest, DenseRecipeActivatesAsManyParametersAsTheMoe) {
  const auto activated = [](const char* name) {
    auto document = formats::TomlDocument::open(
        fmt::format("{}/../../recipes/{}.toml", DITMOE_TEST_DATA, name));
    return static_cast<double>(networks::activated_parameters(read_recipe(document).model));
  };
  EXPECT_NEAR(activated("fashion_mnist_dense") / activated("fashion_mnist"), 1.0, 0.01);
}

TEST(RateScheduleTest, WarmsUpHoldsAndDecays) {
  const RateSchedule rate = {
      .peak = 1.0, .cosine = true, .warmup_steps = 4, .decay_start = 10, .final_lr = 0.1};
  EXPECT_DOUBLE_EQ(rate.at(0, 20), 0.25);
  EXPECT_DOUBLE_EQ(rate.at(3, 20), 1.0);
  EXPECT_DOUBLE_EQ(rate.at(9, 20), 1.0);
  EXPECT_NEAR(rate.at(15, 20), 0.55, 1e-12);
  EXPECT_GT(rate.at(19, 20), 0.1);
  EXPECT_LT(rate.at(19, 20), 0.13);
}

TEST(RateScheduleTest, ConstantStaysConstant) {
  const RateSchedule rate = {.peak = 0.5};
  EXPECT_EQ(rate.at(0, 10), 0.5);
  EXPECT_EQ(rate.at(9, 10), 0.5);
}

TEST(RecipeTest, EmaWarmsUp) {
  Recipe recipe = read("");
  recipe.ema_decay = 0.999;
  recipe.ema_warmup = true;
  EXPECT_DOUBLE_EQ(recipe.ema_decay_at(0), 0.1);
  EXPECT_DOUBLE_EQ(recipe.ema_decay_at(90), 0.91);
  EXPECT_DOUBLE_EQ(recipe.ema_decay_at(100000), 0.999);
  recipe.ema_warmup = false;
  EXPECT_DOUBLE_EQ(recipe.ema_decay_at(0), 0.999);
}

}  // namespace
}  // namespace ditmoe::training
