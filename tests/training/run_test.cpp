// Runs of the trainer from outside: resumed ones equal undisturbed ones, and failures lose nothing.

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>

#include "ditmoe/base/error.h"
#include "ditmoe/data/dataset.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/folder.h"
#include "ditmoe/training/checkpoint.h"
#include "ditmoe/training/trainer.h"

#include "tests/training/torch_support.h"

namespace ditmoe::training {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

void append_u32_be(std::string& bytes, uint32_t value) {
  for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>((value >> shift) & 0xFF);
}

// A stand-in for Fashion-MNIST in its own file format: 40 images of 8x8.
void write_dataset(const fs::path& folder) {
  fs::create_directories(folder);
  std::string images("\0\0\x08\x03", 4);
  for (const uint32_t dim : {40U, 8U, 8U}) append_u32_be(images, dim);
  std::string labels("\0\0\x08\x01", 4);
  append_u32_be(labels, 40);
  for (uint32_t i = 0; i < 40; ++i) {
    labels += static_cast<char>(i % 10);
    for (uint32_t pixel = 0; pixel < 64; ++pixel)
      images += static_cast<char>((pixel * (i + 3)) % 251);
  }
  for (const char* split : {"train", "t10k"}) {
    formats::write_text((folder / fmt::format("{}-images-idx3-ubyte.gz", split)).string(), images);
    formats::write_text((folder / fmt::format("{}-labels-idx1-ubyte.gz", split)).string(), labels);
  }
}

class TrainerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = fs::path(::testing::TempDir()) / fmt::format("ditmoe-{}-{}", test->name(), ::getpid());
    fs::remove_all(root_);
    write_dataset(root_ / "data");
    at::set_num_threads(1);
    recipe_.name = "test";
    recipe_.model = tests::tiny_config();
    recipe_.model.num_classes = 10;
    recipe_.data_folder = (root_ / "data").string();
    recipe_.steps = 12;
    recipe_.batch_size = 8;
    recipe_.accumulation = 2;
    recipe_.rate.peak = 1e-2;
    recipe_.clip_norm = 0.5;
    recipe_.ema_warmup = true;
    recipe_.log_every = 2;
    recipe_.checkpoint_every = 4;
    recipe_.sampling = {"ddim", 2, 1.5, "3"};
  }

  void TearDown() override { fs::remove_all(root_); }

  std::string folder(const std::string& name) const { return (root_ / name).string(); }

  std::string bytes(const std::string& path) const { return formats::read_text(path); }

  std::string fault(const Recipe& recipe, const TrainOptions& options) const {
    try {
      train(recipe, options);
    } catch (const base::Error& error) {
      return error.what();
    }
    return "";
  }

  fs::path root_;
  Recipe recipe_;
};

TEST_F(TrainerTest, ResumedRunIsByteIdentical) {
  train(recipe_, {folder("whole")});
  Recipe first_part = recipe_;
  first_part.steps = 7;  // ends off the checkpoint grid
  train(first_part, {folder("parts")});
  train(recipe_, {folder("parts"), /*resume=*/true});
  for (const char* file : {"model.safetensors",
                           "checkpoints/step-00000012/model.safetensors",
                           "checkpoints/step-00000012/ema.safetensors",
                           "checkpoints/step-00000012/optimizer.safetensors"}) {
    EXPECT_EQ(bytes(folder("whole") + "/" + file), bytes(folder("parts") + "/" + file)) << file;
  }
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
  recipe_.data_folder = folder("nowhere");
  EXPECT_THAT(fault(recipe_, {folder("run")}), HasSubstr("dataset-fashion-mnist"));
  EXPECT_FALSE(fs::exists(folder("run")));
}

TEST_F(TrainerTest, NonFiniteGradientNeverReachesTheWeights) {
  recipe_.steps = 4;
  train(recipe_, {folder("run")});
  TrainState good{ParameterSet(recipe_.model), {}, {}, 0};
  good.ema = at::zeros_like(good.parameters.values());
  good.optimiser = make_adamw_state(good.parameters.values());
  ASSERT_TRUE(restore_newest_checkpoint(folder("run"), recipe_, good));

  Recipe wild = recipe_;
  wild.steps = 100;
  wild.rate.peak = 1e30;  // overflows within a step or two
  wild.clip_norm = 0.0;
  EXPECT_THAT(fault(wild, {folder("run"), true}), HasSubstr("not finite"));
  TrainState after{ParameterSet(recipe_.model), {}, {}, 0};
  after.ema = at::zeros_like(good.ema);
  after.optimiser = make_adamw_state(after.parameters.values());
  ASSERT_TRUE(restore_newest_checkpoint(folder("run"), recipe_, after));
  EXPECT_EQ(after.steps_done, 4);
  EXPECT_TRUE(after.parameters.values().equal(good.parameters.values()));
}

}  // namespace
}  // namespace ditmoe::training
