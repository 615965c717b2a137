#include <algorithm>
#include <filesystem>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "ditmoe/base/json.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/formats/png.h"

#include "program.h"

namespace ditmoe::apps {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class SampleTest : public testing::Test {
 protected:
  SampleTest() { write_random_model(model_, tiny_config()); }

  Outcome sample(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"sample", model_, "--quiet"});
    return run(arguments);
  }

  // Draws into an .npz and returns its pixels.
  std::vector<uint8_t> pixels(std::vector<std::string> arguments) {
    const std::string file = folder_ / "pixels.npz";
    arguments.insert(arguments.end(), {"-o", file});
    const Outcome outcome = sample(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    if (outcome.exit_code != 0) return {};
    const auto arrays = formats::read_npz(file);
    const auto span = arrays.at("arr_0").as<uint8_t>();
    return {span.begin(), span.end()};
  }

  // A refusal must name what is wrong and leave nothing behind.
  void expect_refusal(const std::vector<std::string>& arguments, const std::string& message) {
    const std::vector<std::string> before = folder_.names();
    const Outcome outcome = sample(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_EQ(folder_.names(), before);
  }

  TemporaryFolder folder_;
  std::string model_ = folder_ / "tiny.safetensors";
};

TEST_F(SampleTest, PixelsDependOnNeitherBatchNorThreads) {
  const std::vector<uint8_t> expected =
      pixels({"--count", "7", "--seed", "3", "--batch", "7", "--threads", "1"});
  ASSERT_EQ(expected.size(), 7U * 64);
  for (const std::string batch : {"1", "2", "5"}) {
    for (const std::string threads : {"1", "2", "3"}) {
      EXPECT_EQ(pixels({"--count", "7", "--seed", "3", "--batch", batch, "--threads", threads}),
                expected)
          << "batch " << batch << ", threads " << threads;
    }
  }
  EXPECT_NE(pixels({"--count", "7", "--seed", "4"}), expected);
}

TEST_F(SampleTest, ArraysHoldPixelsAndLabels) {
  const Outcome outcome =
      sample({"--labels", "bag,0,none", "--count", "5", "-o", folder_ / "batch.npz"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto arrays = formats::read_npz(folder_ / "batch.npz");
  EXPECT_EQ(arrays.at("arr_0").shape(), (base::Shape{5, 8, 8, 1}));
  EXPECT_THAT(arrays.at("arr_1").as<int64_t>(), ElementsAre(2, 0, 3, 2, 0));
}

TEST_F(SampleTest, PictureCarriesItsSettingsAndCanBeRepeated) {
  const std::string first = folder_ / "first.png";
  ASSERT_EQ(sample({"--count", "6", "--seed", "9", "--steps", "4", "--cfg", "1.7", "-o", first})
                .exit_code,
            0);
  const formats::Image image = formats::read_png(first);
  ASSERT_EQ(image.text.size(), 2U);
  EXPECT_EQ(image.text[0].first, "ditmoe");
  const base::Json settings = base::parse_json(image.text[0].second, first);
  EXPECT_EQ(settings.at("model"), "tiny.safetensors");
  EXPECT_EQ(settings.at("seed"), 9);
  EXPECT_EQ(settings.at("labels"), base::Json({0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(image.text[1].first, "parameters");
  EXPECT_THAT(image.text[1].second, HasSubstr("Steps: 4, Sampler: ddim, CFG scale: 1.7"));

  const std::string again = folder_ / "again.png";
  ASSERT_EQ(sample({"--from-png", first, "-o", again}).exit_code, 0);
  EXPECT_EQ(formats::read_text(again), formats::read_text(first));
  ASSERT_EQ(sample({"--from-png", first, "--seed", "10", "-o", again}).exit_code, 0);
  EXPECT_NE(formats::read_png(again).pixels_HWC, image.pixels_HWC);
}

TEST_F(SampleTest, IntervalOfGuidanceTravelsInThePicture) {
  const std::string first = folder_ / "first.png";
  const std::vector<std::string> guided = {"--cfg", "9", "--sampler", "dpm++", "--steps", "6"};
  std::vector<std::string> arguments = guided;
  arguments.insert(arguments.end(), {"--cfg-interval", "0.2,0.8", "-o", first});
  ASSERT_EQ(sample(arguments).exit_code, 0);
  const formats::Image image = formats::read_png(first);
  ASSERT_EQ(image.text.size(), 2U);
  EXPECT_EQ(base::parse_json(image.text[0].second, first).at("cfg_interval"),
            base::Json({0.2, 0.8}));
  EXPECT_THAT(image.text[1].second, HasSubstr("CFG scale: 9 (all channels, noise levels 0.2,0.8)"));
  const std::string again = folder_ / "again.png";
  ASSERT_EQ(sample({"--from-png", first, "-o", again}).exit_code, 0);
  EXPECT_EQ(formats::read_text(again), formats::read_text(first));
  ASSERT_EQ(sample({"--from-png", first, "--cfg-interval", "0,1", "-o", again}).exit_code, 0);
  EXPECT_NE(formats::read_png(again).pixels_HWC, image.pixels_HWC);

  // All levels are plain guidance, none are no guidance.
  const auto with = [&](const std::string& interval) {
    std::vector<std::string> all = guided;
    if (!interval.empty()) all.insert(all.end(), {"--cfg-interval", interval});
    return pixels(all);
  };
  EXPECT_EQ(with("0,1"), with(""));
  EXPECT_EQ(with("0.99,0.99"), pixels({"--cfg", "1", "--sampler", "dpm++", "--steps", "6"}));
}

TEST_F(SampleTest, SamplersWithoutStepsTakeTheirOwn) {
  const Outcome outcome = sample({"--sampler", "dpm++", "--json", "-o", folder_ / "a.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(base::parse_json(outcome.out, "stdout").at("steps"), 20);
}

TEST_F(SampleTest, FolderHoldsOnePictureEachAndATableOfLabels) {
  const std::string out = folder_ / "images/";
  ASSERT_EQ(sample({"--labels", "1-2", "--count", "3", "-o", out}).exit_code, 0);
  EXPECT_EQ(formats::read_text(out + "labels.csv"),
            "file,label,name\n000000.png,1,Trouser\n000001.png,2,Bag\n000002.png,1,Trouser\n");
  const std::vector<uint8_t> all = pixels({"--labels", "1-2", "--count", "3"});
  const formats::Image last = formats::read_png(out + "000002.png");
  EXPECT_TRUE(std::equal(last.pixels_HWC.begin(), last.pixels_HWC.end(), all.end() - 64));

  // One of many can be drawn again alone.
  const std::string again = folder_ / "again.png";
  ASSERT_EQ(sample({"--from-png", out + "000002.png", "-o", again}).exit_code, 0);
  EXPECT_EQ(formats::read_png(again).pixels_HWC, last.pixels_HWC);
  expect_refusal({"-o", out}, "the folder is not empty");
}

TEST_F(SampleTest, ResultIsOneJsonObject) {
  const Outcome outcome = sample({"--json", "-o", folder_ / "a.png"});
  ASSERT_EQ(outcome.exit_code, 0);
  const base::Json json = base::parse_json(outcome.out, "stdout");
  EXPECT_EQ(json.at("output"), folder_ / "a.png");
  EXPECT_EQ(json.at("sampler"), "ddim");
  EXPECT_EQ(json.at("labels").size(), 3U);
}

TEST_F(SampleTest, WhatCannotBeDrawnIsRefusedBeforeAnythingIsWritten) {
  const std::string out = folder_ / "x.png";
  expect_refusal({"--labels", "3", "-o", out}, "from 0 to 2");
  expect_refusal({"--labels", "trousers", "-o", out}, "did you mean 'Trouser'?");
  expect_refusal({"--steps", "1001", "-o", out}, "1000");
  expect_refusal({"--steps", "0", "-o", out}, "steps");
  expect_refusal({"--sampler", "ddmi", "-o", out}, "did you mean 'ddim'?");
  for (const std::string flow : {"euler", "heun", "ab2"}) {
    expect_refusal({"--sampler", flow, "-o", out}, "expected ddpm or ddim or dpm++");
  }
  expect_refusal({"--sampler", "dpm++", "--steps", "1001", "-o", out}, "1 to 1000");
  expect_refusal({"--sampler", "dpm+", "-o", out}, "expected one of ddpm, ddim, dpm++, euler");
  expect_refusal({"--cfg", "nan", "-o", out}, "guidance scale");
  expect_refusal({"--cfg-channels", "2", "-o", out}, "expected 3 or all");
  expect_refusal({"--cfg-interval", "0.5", "-o", out}, "expected LO,HI");
  expect_refusal({"--cfg-interval", "0.2;0.8", "-o", out}, "expected LO,HI");
  expect_refusal({"--cfg-interval", "0.8,0.2", "-o", out}, "0 <= LO <= HI <= 1, found 0.8,0.2");
  expect_refusal({"--cfg-interval", "-0.1,0.2", "-o", out}, "0 <= LO <= HI <= 1");
  expect_refusal({"--cfg-interval", "0,1.5", "-o", out}, "0 <= LO <= HI <= 1");
  expect_refusal({"--cfg-interval", "nan,1", "-o", out}, "0 <= LO <= HI <= 1");
  expect_refusal({"--objective", "noise", "-o", out}, "--objective");
  expect_refusal({"--count", "9999999", "-o", out}, "too many for one picture");
  expect_refusal({"--from-png", model_, "-o", out}, "tiny.safetensors");
}

TEST_F(SampleTest, OutputsThatCannotBeAreRefusedBeforeSampling) {
  expect_refusal({"-o", folder_ / "x.jpg"}, "expected a name that ends in .png");
  expect_refusal({"-o", folder_ / "no/such/x.png"}, "cannot be reached: No such file");
  expect_refusal({"-o", folder_.path()}, "the folder is not empty");
  expect_refusal({"-o", model_ + "/"}, "expected a folder, found a file");
  expect_refusal({"-o", model_ + "/x.png"}, "tiny.safetensors is not a folder");
  if (geteuid() == 0) return;  // root may write anywhere
  std::filesystem::permissions(
      folder_.path(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  expect_refusal({"-o", folder_ / "x.png"}, "cannot write");
  std::filesystem::permissions(folder_.path(), std::filesystem::perms::owner_all);
}

TEST_F(SampleTest, NamesThatCannotBeAreRefusedBeforeSampling) {
  const std::string long_name = folder_ / std::string(300, 'n');
  expect_refusal({"-o", long_name + ".png"}, "expected a shorter name");
  expect_refusal({"-o", long_name + ".npz"}, "expected a shorter name");
  expect_refusal({"-o", long_name + "/"}, "File name too long");
  expect_refusal({"-o", folder_ / std::string(250, 'n') + "/"}, "File name too long");
  expect_refusal({"-o", folder_ / "no/such/"}, "cannot be reached: No such file");
  std::filesystem::create_directory_symlink(folder_ / "nothing", folder_ / "link");
  expect_refusal({"-o", folder_ / "link/"}, "a link to nothing");
  std::filesystem::create_symlink(folder_ / "loop", folder_ / "loop");
  expect_refusal({"-o", folder_ / "loop/"}, "Too many levels of symbolic links");
}

// A folder that is there may be a mount point, a current folder or stand in one that is read-only:
// it stays the same.
TEST_F(SampleTest, AnEmptyFolderIsFilled) {
  const std::string out = folder_ / "out";
  const auto folder_number = [&] {
    struct stat status = {};
    EXPECT_EQ(stat(out.c_str(), &status), 0);
    return status.st_ino;
  };
  const auto expect_filled = [&] {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(out)) {
      names.push_back(entry.path().filename().string());
      std::filesystem::remove(entry.path());
    }
    EXPECT_THAT(names, testing::UnorderedElementsAre("000000.png", "000001.png", "labels.csv"));
  };
  std::filesystem::create_directory(out);
  std::filesystem::create_directory_symlink("out", folder_ / "link");
  const std::vector<std::string> before = folder_.names();
  const auto number = folder_number();
  for (const std::string& name : {out, out + "/", folder_ / "link", folder_ / "link/"}) {
    const Outcome outcome = sample({"--count", "2", "-o", name});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    expect_filled();
    EXPECT_EQ(folder_number(), number) << name;
    EXPECT_EQ(folder_.names(), before);
  }
  EXPECT_TRUE(std::filesystem::is_symlink(folder_ / "link"));
  for (const char* name : {".", "./"}) {
    const std::string command = "cd '" + out + "' && exec '" DITMOE_PROGRAM "' sample '" + model_ +
                                "' --quiet --count 2 -o " + name;
    const Outcome outcome = run({"-c", command}, "/bin/sh");
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    expect_filled();
  }
  if (geteuid() == 0) return;  // root may write anywhere
  using std::filesystem::perms;
  std::filesystem::permissions(folder_.path(), perms::owner_read | perms::owner_exec);
  EXPECT_EQ(sample({"--count", "2", "-o", out}).exit_code, 0);
  expect_filled();
  std::filesystem::permissions(out, perms::owner_read | perms::owner_exec);
  expect_refusal({"-o", out}, "cannot be made: Permission denied");
  std::filesystem::permissions(out, perms::owner_all);
  std::filesystem::permissions(folder_.path(), perms::owner_all);
}

TEST_F(SampleTest, RectifiedFlowTakesItsOwnSamplers) {
  networks::DitConfig config = tiny_config();
  config.objective = networks::Objective::kRectifiedFlow;
  write_random_model(model_, config);
  EXPECT_EQ(pixels({}).size(), 3U * 64);
  expect_refusal({"--sampler", "ddim", "-o", folder_ / "x.png"}, "expected euler or heun or ab2");
  expect_refusal({"--sampler", "dpm++", "-o", folder_ / "x.png"}, "expected euler or heun or ab2");
  const std::vector<uint8_t> euler = pixels({"--steps", "3"});
  for (const std::string sampler : {"heun", "ab2"}) {
    EXPECT_NE(pixels({"--sampler", sampler, "--steps", "3"}), euler) << sampler;
  }
}

TEST_F(SampleTest, LatentsGoToArraysOnly) {
  networks::DitConfig config = tiny_config();
  config.channels = 4;
  write_random_model(model_, config);
  expect_refusal({"-o", folder_ / "x.png"}, "latents of 4 channels");
  ASSERT_EQ(sample({"-o", folder_ / "x.npz"}).exit_code, 0);
  const auto arrays = formats::read_npz(folder_ / "x.npz");
  EXPECT_EQ(arrays.at("latents").shape(), (base::Shape{3, 4, 8, 8}));
  EXPECT_EQ(arrays.at("latents").dtype(), base::DType::kF32);
}

TEST_F(SampleTest, TruncatedModelIsRefused) {
  const std::string whole = formats::read_text(model_);
  formats::write_text(model_, whole.substr(0, whole.size() / 2));
  expect_refusal({"-o", folder_ / "x.png"}, "it is truncated");
  formats::write_text(model_, whole.substr(0, 5));
  expect_refusal({"-o", folder_ / "x.png"}, "tiny.safetensors");
}

}  // namespace
}  // namespace ditmoe::apps
