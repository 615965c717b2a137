// Black-box tests of ditmoe-train: what `probe loss` writes, and that wrong input costs one line.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <gmock/gmock.h>
#include <map>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/formats/file.h"
#include "ditmoe/formats/npz.h"

#include "tests/support/arrays.h"

namespace ditmoe::training {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

struct Outcome {
  int exit_code = -1;
  std::string err;
};

class ProgramTest : public ::testing::Test {
 protected:
  ProgramTest() : root_(fs::temp_directory_path() / fmt::format("ditmoe-program-{}", getpid())) {
    fs::remove_all(root_);
    fs::create_directories(root_);
  }

  ~ProgramTest() override { fs::remove_all(root_); }

  std::string file(const std::string& name) const { return (root_ / name).string(); }

  Outcome run(const std::string& arguments) const {
    const std::string command =
        fmt::format("'{}' {} 2> '{}'", DITMOE_TRAINER, arguments, file("stderr"));
    const int status = std::system(command.c_str());
    return {WEXITSTATUS(status), formats::read_text(file("stderr"))};
  }

  // Exit 2, one line that says so, and no run folder.
  void expect_refusal(const std::string& arguments, const std::string& message) const {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
    EXPECT_FALSE(fs::exists(file("run")));
  }

  std::string train(const std::string& rest) const {
    return fmt::format("train '{}' --out '{}' {}", DITMOE_SMOKE_RECIPE, file("run"), rest);
  }

  fs::path root_;
};

TEST_F(ProgramTest, ProbeLossWritesLossesAndGradientsUnderTheFilesNames) {
  const std::string data = std::string(DITMOE_TEST_DATA) + "/moe_qknorm/";
  const Outcome outcome =
      run(fmt::format("probe loss {0}model.safetensors --in {0}train_ddpm.npz --out '{1}' --step",
                      data,
                      file("out.npz")));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto expected = formats::read_npz(data + "train_ddpm.npz");
  const auto actual = formats::read_npz(file("out.npz"));
  for (const char* name : {"mse",
                           "vb",
                           "loss",
                           "aux_per_layer",
                           "grad/blocks.1.attn.Wqkv.weight",
                           "grad/blocks.0.moe.experts.3.up_proj.weight"}) {
    ASSERT_TRUE(actual.contains(name)) << name;
    EXPECT_TRUE(tests::close(actual.at(name).as<float>(), expected.at(name).as<float>(), 1e-3))
        << name;
  }
  for (const auto& [name, array] : formats::read_npz(data + "train_step.npz")) {
    ASSERT_TRUE(actual.contains(name)) << name;
    EXPECT_EQ(actual.at(name).shape(), array.shape()) << name;
  }
}

TEST_F(ProgramTest, WrongRecipesCostOneLine) {
  expect_refusal(train("--set train.lrr=1"), "did you mean 'train.lr'");
  expect_refusal(train("--set train.batch_size=65"), "multiple of train.accumulation = 2");
  expect_refusal(train("--set train.steps=0"), "train.steps");
  expect_refusal(train("--set model.heads=5"), "heads");
  expect_refusal(train("--set data.folder=/nowhere"), "/nowhere");
  expect_refusal(train("--set kind=vase"), "kind");
  expect_refusal(fmt::format("train '{}'", file("absent.toml")), "absent.toml");
}

// Images that neither a classifier nor a transformer can be trained on.
TEST_F(ProgramTest, WrongImagesCostOneLine) {
  const auto put = [&](int images, int height, int width) {
    std::string image_file("\0\0\x08\x03", 4);
    for (const int dim : {images, height, width}) {
      image_file += std::string(3, '\0') + static_cast<char>(dim);
    }
    image_file += std::string(static_cast<size_t>(images * height * width), 'x');
    std::string label_file("\0\0\x08\x01\0\0\0", 7);
    label_file += static_cast<char>(images) + std::string(static_cast<size_t>(images), '\1');
    for (const char* half : {"train", "t10k"}) {
      formats::write_text(file(fmt::format("{}-images-idx3-ubyte.gz", half)), image_file);
      formats::write_text(file(fmt::format("{}-labels-idx1-ubyte.gz", half)), label_file);
    }
  };
  formats::write_text(
      file("classifier.toml"),
      fmt::format("kind = \"classifier\"\n[data]\nfolder = \"{}\"\n", root_.string()));
  const std::string classifier =
      fmt::format("train '{}' --out '{}'", file("classifier.toml"), file("run"));
  put(0, 28, 28);
  expect_refusal(classifier, "expected images, found [0, 28, 28]");
  expect_refusal(train("--set data.folder=" + root_.string()), "found [0, 28, 28]");
  for (const auto& [height, width] : {std::pair{27, 28}, {28, 27}, {2, 2}}) {
    put(2, height, width);
    expect_refusal(
        classifier,
        fmt::format("train images: expected [2, 28, 28, 1], found [2, {}, {}, 1]", height, width));
  }
}

TEST_F(ProgramTest, WrongUsageCostsOneLine) {
  expect_refusal("train", "RECIPE");
  expect_refusal("trian", "");
  expect_refusal("probe loss", "MODEL");
}

TEST_F(ProgramTest, TruncatedModelIsRefusedAndNothingWritten) {
  const std::string data = std::string(DITMOE_TEST_DATA) + "/moe_plain/";
  const std::string whole = formats::read_text(data + "model.safetensors");
  formats::write_text(file("cut.safetensors"), whole.substr(0, whole.size() / 2));
  expect_refusal(fmt::format("probe loss '{}' --in {}train_ddpm.npz --out '{}' --heads 4",
                             file("cut.safetensors"),
                             data,
                             file("out.npz")),
                 "cut.safetensors");
  EXPECT_FALSE(fs::exists(file("out.npz")));
}

}  // namespace
}  // namespace ditmoe::training
