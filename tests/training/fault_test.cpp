// Steps that go wrong: what each policy does, and that nothing of them reaches the weights.

#include <cmath>

#include "ditmoe/training/faults.h"

#include "tests/training/run_support.h"

namespace ditmoe::training {
namespace {

class FaultTest : public TrainerTest {
 protected:
  void expect_finite(const std::string& run) const {
    const TrainState state = restored(run);
    EXPECT_TRUE(at::isfinite(state.parameters.values()).all().item<bool>());
    EXPECT_TRUE(at::isfinite(state.ema).all().item<bool>());
    EXPECT_TRUE(at::isfinite(state.optimiser.first).all().item<bool>());
    EXPECT_TRUE(at::isfinite(state.optimiser.second).all().item<bool>());
  }

  // Faults that the log tells of.
  int64_t faults(const std::string& run) const {
    int64_t sum = 0;
    for (const base::Json& line : log(run)) sum += line.at("faults").get<int64_t>();
    return sum;
  }

  static TrainOptions with(const std::string& out, const std::string& inject) {
    return {.out = out, .inject = inject};
  }
};

TEST_F(FaultTest, StopLeavesTheWeightsAndNamesTheImages) {
  for (const char* kind : {"data", "loss", "gradient"}) {
    const std::string run = folder(kind);
    const std::string message = fault(recipe_, with(run, fmt::format("{}@7", kind)));
    EXPECT_THAT(message, HasSubstr("step 7: fault"));
    EXPECT_THAT(message, HasSubstr("the weights were left as they were"));
    const base::Json dump = base::Json::parse(bytes(run + "/faults/step-00000007.json"));
    EXPECT_EQ(dump.at("samples").size(), 8U);
    EXPECT_EQ(dump.at("policy"), "stop");
    EXPECT_EQ(restored(kind).steps_done, 4);
    expect_finite(kind);
    train(recipe_, {run, /*resume=*/true});  // without the fault
    train(recipe_, {folder(fmt::format("whole-{}", kind))});
    expect_same_model(kind, fmt::format("whole-{}", kind));
  }
}

TEST_F(FaultTest, SkipLeavesOneUpdateOut) {
  recipe_.faults.policy = FaultPolicy::kSkip;
  train(recipe_, with(folder("run"), "data@2,loss@7,gradient@8"));
  EXPECT_EQ(restored("run").steps_done, 12);
  EXPECT_EQ(restored("run").optimiser.updates, 9);
  EXPECT_EQ(faults("run"), 3);
  expect_finite("run");
}

TEST_F(FaultTest, RollbackGoesOnBehindTheFaultyImages) {
  recipe_.faults.policy = FaultPolicy::kRollback;
  train(recipe_, with(folder("run"), "gradient@7"));
  const TrainState state = restored("run");
  EXPECT_EQ(state.steps_done, 12);
  // Back from step 7 to 4: the images of steps 5 to 7 are left out.
  EXPECT_EQ(state.skipped_samples, 3 * 8);
  expect_finite("run");
  std::vector<int64_t> steps;
  for (const base::Json& line : log("run")) steps.push_back(line.at("step"));
  EXPECT_THAT(steps, ::testing::ElementsAre(2, 4, 6, 8, 10, 12));
}

TEST_F(FaultTest, RollbackBeforeTheFirstCheckpointGoesToTheStart) {
  recipe_.faults.policy = FaultPolicy::kRollback;
  train(recipe_, with(folder("run"), "loss@1"));
  EXPECT_EQ(restored("run").skipped_samples, 8);
}

TEST_F(FaultTest, ARunThatWentBackResumesByteIdentical) {
  recipe_.faults.policy = FaultPolicy::kRollback;
  train(recipe_, with(folder("whole"), "data@6"));
  Recipe first_part = recipe_;
  first_part.steps = 9;
  train(first_part, with(folder("parts"), "data@6"));
  train(recipe_, {folder("parts"), /*resume=*/true});
  expect_same_model("whole", "parts");
}

TEST_F(FaultTest, TooManyFaultsEndTheRun) {
  recipe_.faults.most = 2;
  for (const FaultPolicy policy : {FaultPolicy::kSkip, FaultPolicy::kRollback}) {
    recipe_.faults.policy = policy;
    const std::string run(to_word(policy));
    // Without a checkpoint in between.
    EXPECT_THAT(fault(recipe_, with(folder(run), "loss@1,loss@2,loss@3,gradient@1,data@1")),
                HasSubstr("3 faults since the last checkpoint"));
  }
}

TEST_F(FaultTest, ALeapOfTheLossIsAFaultOnceThereAreEnoughLosses) {
  recipe_.faults.policy = FaultPolicy::kSkip;
  recipe_.faults.spike = 30;
  recipe_.steps = 40;
  train(recipe_, with(folder("run"), "spike@5,spike@38"));
  EXPECT_EQ(faults("run"), 1);
  EXPECT_EQ(restored("run").losses.size(), 39U);
  EXPECT_TRUE(fs::exists(folder("run") + "/faults/step-00000038.json"));
}

TEST(LossWindowTest, JudgesByTheMedian) {
  std::vector<double> losses;
  LossWindow window(losses);
  for (int i = 0; i < 31; ++i) window.add(1.0 + 0.01 * (i % 3));
  EXPECT_FALSE(window.is_spike(100.0, 6));  // too few
  window.add(1.0);
  EXPECT_TRUE(window.is_spike(100.0, 6));
  EXPECT_FALSE(window.is_spike(100.0, 0));
  EXPECT_FALSE(window.is_spike(1.05, 6));
  EXPECT_TRUE(window.is_spike(1.08, 6));
  EXPECT_FALSE(window.is_spike(-5.0, 6));
  for (int i = 0; i < 500; ++i) window.add(2.0);
  EXPECT_EQ(losses.size(), LossWindow::kSize);
  EXPECT_FALSE(window.is_spike(2.001, 6));  // equal losses have no deviation
}

TEST(InjectionTest, ReadsItsListAndRefusesOthers) {
  Injection injection("loss@3,data@12");
  EXPECT_FALSE(injection.take(Injection::Place::kLoss, 2));
  EXPECT_FALSE(injection.take(Injection::Place::kData, 3));
  EXPECT_TRUE(injection.take(Injection::Place::kLoss, 3));
  EXPECT_FALSE(injection.take(Injection::Place::kLoss, 3));
  EXPECT_TRUE(injection.take(Injection::Place::kData, 12));
  for (const char* text : {"loss", "loss@", "loss@x", "lost@3", "loss@3;data@4", "loss@3x"}) {
    EXPECT_THROW(Injection{text}, base::Error) << text;
  }
}

}  // namespace
}  // namespace ditmoe::training
