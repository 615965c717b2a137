#include "ditmoe/networks/training_cost.h"

#include <gtest/gtest.h>

namespace ditmoe::networks {
namespace {

using kernels::Precision;

TEST(TrainingCostTest, StateIsCountedExactly) {
  const DitConfig config = preset("S/2-8E2A");
  const int64_t trained = 199'307'552 - 256 * 384;
  const TrainingMemory f32 = training_memory(config, {.batch = 8});
  EXPECT_EQ(f32.weights, 4 * trained);
  EXPECT_EQ(f32.gradients, 4 * trained);
  EXPECT_EQ(f32.optimiser, 8 * trained);
  EXPECT_EQ(f32.average, 4 * trained);
  const TrainingMemory bf16 = training_memory(config, {.batch = 8, .precision = Precision::kBf16});
  EXPECT_EQ(bf16.weights, 6 * trained);
  EXPECT_LT(bf16.activations, f32.activations);
}

// Peaks of `ditmoe train` in bytes, measured with 8 and 32 images of 256 tokens.
TEST(TrainingCostTest, TotalsAreWhatWasMeasured) {
  const DitConfig config = preset("S/2-8E2A");
  const auto expect_near = [&](const TrainingSettings& settings, double kilobytes) {
    const double measured = 1024 * kilobytes;
    EXPECT_NEAR(static_cast<double>(training_memory(config, settings).total()) / measured, 1, 0.1);
  };
  expect_near({8, Precision::kF32, false}, 5'557'932);
  expect_near({8, Precision::kBf16, false}, 5'376'944);
  expect_near({32, Precision::kBf16, false}, 8'061'248);
  expect_near({32, Precision::kBf16, true}, 5'747'208);
  expect_near({64, Precision::kBf16, true}, 6'929'876);
}

TEST(TrainingCostTest, ActivationsGrowWithTheBatchUnlessRecomputed) {
  for (const char* name : {"S/2", "S/2-swiglu", "S/2-switch", "S/4-8E2A"}) {
    const DitConfig config = preset(name);
    const TrainingMemory one = training_memory(config, {.batch = 1});
    const TrainingMemory four = training_memory(config, {.batch = 4});
    EXPECT_EQ(four.activations, 4 * one.activations) << name;
    const TrainingMemory again = training_memory(config, {.batch = 4, .recompute = true});
    EXPECT_LT(again.activations, four.activations / 4) << name;
    EXPECT_LT(again.total(), four.total()) << name;
  }
}

TEST(TrainingCostTest, RecomputationIsAForwardMore) {
  const DitConfig config = preset("S/2-8E2A");
  EXPECT_EQ(training_macs(config, false), 3 * forward_macs(config));
  EXPECT_EQ(training_macs(config, true), 4 * forward_macs(config));
}

}  // namespace
}  // namespace ditmoe::networks
