// Runs of the trainer from outside: resumed ones equal undisturbed ones, and failures lose nothing.

#include "ditmoe/formats/folder.h"

#include "tests/training/run_support.h"

namespace ditmoe::training {
namespace {

using tests::relative_error;

// Stops inside an epoch (of five steps), at its end, and off and on the grid of checkpoints.
TEST_F(TrainerTest, ResumedRunIsByteIdenticalWhereverItStopped) {
  for (const auto precision : {kernels::Precision::kF32, kernels::Precision::kBf16}) {
    recipe_.precision = precision;
    const std::string tag(kernels::to_word(precision));
    train(recipe_, {folder("whole-" + tag)});
    for (const int64_t stop : {1, 4, 5, 7, 10, 11}) {
      const std::string parts = fmt::format("parts-{}-{}", tag, stop);
      Recipe first_part = recipe_;
      first_part.steps = stop;
      train(first_part, {folder(parts)});
      train(recipe_, {folder(parts), /*resume=*/true});
      for (const char* file : {"model.safetensors",
                               "checkpoints/step-00000012/model.safetensors",
                               "checkpoints/step-00000012/ema.safetensors",
                               "checkpoints/step-00000012/optimizer.safetensors",
                               "checkpoints/step-00000012/state.json"}) {
        EXPECT_EQ(bytes(folder("whole-" + tag) + "/" + file), bytes(folder(parts) + "/" + file))
            << parts << " " << file;
      }
    }
  }
}

TEST_F(TrainerTest, NeitherWorkersNorRecomputationChangeABit) {
  train(recipe_, {folder("plain")});
  for (const int64_t workers : {0, 3}) {
    recipe_.workers = workers;
    train(recipe_, {folder(fmt::format("workers-{}", workers))});
    expect_same_model("plain", fmt::format("workers-{}", workers));
  }
  recipe_.recompute = true;
  train(recipe_, {folder("recomputed")});
  expect_same_model("plain", "recomputed");
}

// The same images, times and noise, summed in another order.
TEST_F(TrainerTest, AccumulationIsTheWholeBatch) {
  recipe_.accumulation = 1;
  train(recipe_, {folder("one")});
  recipe_.accumulation = 8;
  train(recipe_, {folder("eight")});
  const std::vector<base::Json> one = log("one");
  const std::vector<base::Json> eight = log("eight");
  ASSERT_EQ(one.size(), eight.size());
  for (size_t i = 0; i < one.size(); ++i) {
    const auto loss = one[i].at("loss").get<double>();
    EXPECT_NEAR(eight[i].at("loss").get<double>(), loss, 1e-3 * loss);
  }
}

TEST_F(TrainerTest, AtensKernelsTrainAlike) {
  train(recipe_, {folder("native")});
  train(recipe_, {folder("aten"), false, Kernels::kAten});
  EXPECT_LT(relative_error(restored("aten").ema, restored("native").ema), 1e-3);
}

TEST_F(TrainerTest, DamagedCheckpointIsSetAsideAndMadeAgain) {
  recipe_.steps = 8;
  train(recipe_, {folder("run")});
  const std::string whole = bytes(folder("run") + "/model.safetensors");
  const std::string newest = folder("run") + "/checkpoints/step-00000008/optimizer.safetensors";
  fs::resize_file(newest, fs::file_size(newest) - 1);
  fs::remove(folder("run") + "/model.safetensors");
  fs::create_directories(folder("run") + "/checkpoints/step-00000099.tmp");
  train(recipe_, {folder("run"), /*resume=*/true});
  EXPECT_EQ(whole, bytes(folder("run") + "/model.safetensors"));
  const std::string checkpoints = folder("run") + "/checkpoints/";
  EXPECT_TRUE(fs::exists(checkpoints + "damaged-step-00000008"));
  EXPECT_FALSE(fs::exists(checkpoints + "step-00000099.tmp"));
  train(recipe_, {folder("run"), /*resume=*/true});  // from the step-8 that was made again
}

TEST_F(TrainerTest, DoesNotStartOverWhereEveryCheckpointIsDamaged) {
  recipe_.steps = 4;
  train(recipe_, {folder("run")});
  fs::remove(folder("run") + "/checkpoints/step-00000004/state.json");
  EXPECT_THAT(fault(recipe_, {folder("run"), true}), HasSubstr("every checkpoint is damaged"));
}

TEST_F(TrainerTest, RefusesAnotherStreamOnResume) {
  recipe_.steps = 2;
  train(recipe_, {folder("run")});
  Recipe other = recipe_;
  other.seed = 99;
  EXPECT_THAT(fault(other, {folder("run"), true}), HasSubstr("train.seed"));
  other = recipe_;
  other.batch_size = 4;
  EXPECT_THAT(fault(other, {folder("run"), true}), HasSubstr("train.batch_size"));
}

TEST_F(TrainerTest, LogHasEachLineOnceAfterResuming) {
  Recipe first_part = recipe_;
  first_part.steps = 6;
  train(first_part, {folder("run")});
  fs::remove_all(folder("run") + "/checkpoints/step-00000006");         // as if killed before it
  std::ofstream(folder("run") + "/log.csv", std::ios::app) << "8,0.5";  // a line cut short
  train(recipe_, {folder("run"), /*resume=*/true});
  std::ifstream log(folder("run") + "/log.csv");
  std::vector<int64_t> steps;
  for (std::string line; std::getline(log, line);) {
    if (line.starts_with("step")) continue;
    steps.push_back(std::stoll(line));
  }
  EXPECT_THAT(steps, ::testing::ElementsAre(2, 4, 6, 8, 10, 12));
}

TEST_F(TrainerTest, KeepsTheNewestCheckpoints) {
  recipe_.keep_checkpoints = 2;
  train(recipe_, {folder("run")});
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder("run") + "/checkpoints")) {
    names.push_back(entry.path().filename());
  }
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("step-00000008", "step-00000012"));
}

TEST_F(TrainerTest, DrawsSamples) {
  recipe_.steps = 2;
  recipe_.sample_every = 2;
  recipe_.samples_per_class = 1;
  train(recipe_, {folder("run")});
  EXPECT_TRUE(fs::exists(folder("run") + "/samples/step-00000002.png"));
  EXPECT_TRUE(fs::exists(folder("run") + "/experts/step-00000002.png"));
}

TEST_F(TrainerTest, RefusesAFolderThatHoldsARun) {
  recipe_.steps = 2;
  train(recipe_, {folder("run")});
  EXPECT_THAT(fault(recipe_, {folder("run")}), HasSubstr("--resume"));
}

TEST_F(TrainerTest, RefusesAnotherArchitectureOnResume) {
  recipe_.steps = 2;
  train(recipe_, {folder("run")});
  recipe_.model.depth = 1;
  EXPECT_THAT(fault(recipe_, {folder("run"), true}), HasSubstr("architecture"));
}

TEST_F(TrainerTest, RefusesAFolderInUse) {
  fs::create_directories(folder("run"));
  const formats::FolderLock lock(folder("run"));
  EXPECT_THAT(fault(recipe_, {folder("run")}), HasSubstr("in use"));
}

TEST_F(TrainerTest, MissingDataWritesNothing) {
  recipe_.data[0].folder = folder("nowhere");
  EXPECT_THAT(fault(recipe_, {folder("run")}), HasSubstr("dataset-fashion-mnist"));
  EXPECT_FALSE(fs::exists(folder("run")));
}

TEST_F(TrainerTest, NonFiniteGradientNeverReachesTheWeights) {
  recipe_.steps = 4;
  train(recipe_, {folder("run")});
  const TrainState good = restored("run");

  Recipe wild = recipe_;
  wild.steps = 100;
  wild.rate.peak = 1e30;  // overflows within a step or two
  wild.clip_norm = 0.0;
  EXPECT_THAT(fault(wild, {folder("run"), true}), HasSubstr("the last checkpoint is good"));
  const TrainState after = restored("run");
  EXPECT_EQ(after.steps_done, 4);
  EXPECT_TRUE(after.parameters.values().equal(good.parameters.values()));
}

TEST_F(TrainerTest, LogTellsOfExpertsAndData) {
  train(recipe_, {folder("run")});
  const base::Json line = log("run").back();
  EXPECT_EQ(line.at("expert_loads").size(), 2U);
  EXPECT_EQ(line.at("expert_loads")[0].size(), 4U);
  EXPECT_EQ(line.at("expert_gradient_norms")[1].size(), 4U);
  EXPECT_GE(line.at("max_gradient_norm").get<double>(), line.at("gradient_norm").get<double>());
  EXPECT_GE(line.at("data_wait").get<double>(), 0.0);
  EXPECT_LE(line.at("data_wait").get<double>(), 1.0);
  EXPECT_FALSE(fs::is_empty(folder("run") + "/tensorboard"));
}

TEST_F(TrainerTest, KeepsTheBestCheckpointByHeldOutLoss) {
  recipe_.held_out = recipe_.data[0];
  recipe_.held_out->split = "test";
  recipe_.held_out_images = 16;
  recipe_.checkpoint_every = 2;
  recipe_.keep_checkpoints = 1;
  train(recipe_, {folder("run")});
  const auto best = CheckpointStore(folder("run"), 1).best();
  ASSERT_TRUE(best.has_value());
  double least = 1e9;
  for (const base::Json& line : log("run")) {
    const double loss = line.at("held_out_loss");
    if (loss < least) {
      least = loss;
      EXPECT_LE(best->loss, least);
    }
  }
  EXPECT_DOUBLE_EQ(best->loss, least);
}

TEST_F(TrainerTest, TrainsOnAMixture) {
  recipe_.data.push_back(recipe_.data[0]);
  recipe_.data_keys = {"data.real", "data.synthetic"};
  recipe_.data[0].weight = 1;
  recipe_.data[1].weight = 5;
  recipe_.data[1].flip = true;
  train(recipe_, {folder("run")});
  Recipe other = recipe_;
  other.data[1].weight = 4;
  EXPECT_THAT(fault(other, {folder("run"), true}), HasSubstr("data.synthetic.weight"));
}

TEST_F(TrainerTest, RouterBiasesMoveAgainstTheLoads) {
  recipe_.model.router_bias = true;
  recipe_.model.balance_factor = 0;
  recipe_.router_bias_rate = 0.01;
  train(recipe_, {folder("run")});
  const TrainState state = restored("run");
  const at::Tensor bias = state.parameters["blocks.0.moe.gate.e_score_correction_bias"].detach();
  EXPECT_GT(bias.abs().max().item<double>(), 0.005);
  EXPECT_LT(bias.abs().max().item<double>(), 0.01 * 12 + 1e-6);
}

}  // namespace
}  // namespace ditmoe::training
