#pragma once

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/training/checkpoint.h"
#include "ditmoe/training/checkpoint_store.h"
#include "ditmoe/training/trainer.h"

#include "tests/training/torch_support.h"

// Short runs of the trainer on a stand-in for Fashion-MNIST.
namespace ditmoe::training {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

inline void append_u32_be(std::string& bytes, uint32_t value) {
  for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>((value >> shift) & 0xFF);
}

// A stand-in for Fashion-MNIST in its own file format: 40 images of 8x8.
inline void write_dataset(const fs::path& folder) {
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
    recipe_.data = {data::DataSettings{.folder = (root_ / "data").string(),
                                       .image_size = recipe_.model.image_size,
                                       .channels = recipe_.model.channels,
                                       .num_classes = recipe_.model.num_classes}};
    recipe_.data_keys = {"data"};
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

  // The state after the newest checkpoint of a run.
  TrainState restored(const std::string& run) const {
    TrainState state{.parameters = ParameterSet(recipe_.model)};
    state.ema = at::zeros_like(state.parameters.values());
    state.optimiser = make_adamw_state(state.parameters.values());
    const auto newest = CheckpointStore(folder(run), 1).newest();
    EXPECT_TRUE(newest.has_value());
    if (newest) restore_state(*newest, recipe_, state);
    return state;
  }

  // Lines of a run's log.
  std::vector<base::Json> log(const std::string& run) const {
    std::vector<base::Json> lines;
    std::ifstream file(folder(run) + "/log.jsonl");
    for (std::string line; std::getline(file, line);) lines.push_back(base::Json::parse(line));
    return lines;
  }

  void expect_same_model(const std::string& a, const std::string& b) const {
    EXPECT_EQ(bytes(folder(a) + "/model.safetensors"), bytes(folder(b) + "/model.safetensors"));
  }

  fs::path root_;
  Recipe recipe_;
};

}  // namespace ditmoe::training
