#include <fcntl.h>
#include <filesystem>
#include <gmock/gmock.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "ditmoe/base/json.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/networks/model_writer.h"

#include "program.h"

namespace ditmoe::apps {
namespace {

using testing::HasSubstr;

std::string last_line(std::string text) {
  if (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

class ConvertTest : public testing::Test {
 protected:
  ConvertTest() { write_random_model(model_, tiny_config()); }

  std::vector<uint8_t> pixels(const std::string& model, const std::string& dtype) {
    const std::string file = folder_ / "pixels.npz";
    const Outcome outcome =
        run({"sample", model, "--quiet", "--steps", "4", "--dtype", dtype, "-o", file});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    if (outcome.exit_code != 0) return {};
    const auto arrays = formats::read_npz(file);
    const auto span = arrays.at("arr_0").as<uint8_t>();
    return {span.begin(), span.end()};
  }

  // Exit 2, one line, and nothing written.
  void expect_refusal(std::vector<std::string> arguments, const std::string& message) {
    const std::vector<std::string> before = folder_.names();
    arguments.insert(arguments.begin(), "convert");
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_EQ(folder_.names(), before);
  }

  TemporaryFolder folder_;
  std::string model_ = folder_ / "tiny.safetensors";
  std::string packed_ = folder_ / "packed.safetensors";
};

TEST_F(ConvertTest, PackedFilesDrawTheSameImages) {
  for (const char* dtype : {"f32", "bf16", "int8"}) {
    const Outcome outcome =
        run({"convert", model_, packed_, "--format", "packed", "--dtype", dtype});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const std::vector<uint8_t> expected = pixels(model_, dtype);
    EXPECT_FALSE(expected.empty());
    EXPECT_EQ(pixels(packed_, dtype), expected) << dtype;
    EXPECT_EQ(run({"inspect", packed_}).exit_code, 0);
  }
}

TEST_F(ConvertTest, WhatCannotBeConvertedIsRefused) {
  expect_refusal({model_}, "expected IN and OUT");
  expect_refusal({model_, packed_, "--random"}, "OUT alone");
  expect_refusal({packed_, "--random"}, "--preset");
  expect_refusal({packed_, "--random", "--preset", "S/3"}, "S/3");
  expect_refusal({model_, packed_, "--dtype", "int4"}, "expected f32, f16, bf16 or int8");
  expect_refusal({model_, packed_, "--format", "zip"}, "expected safetensors, packed or diffusers");
  expect_refusal({model_, packed_, "--format", "packed", "--dtype", "f16"}, "packed weights");
  expect_refusal({model_, packed_, "--format", "safetensors", "--dtype", "int8"}, "only packed");
  expect_refusal({model_, packed_, "--names", "q"}, "expected qkv or wqkv");
  expect_refusal({model_, packed_, "--dtype", "int8", "--names", "wqkv"}, "names of their own");
  expect_refusal({model_, folder_ / "d", "--format", "diffusers"}, "found feed_forward moe");
  expect_refusal({model_, folder_.path()}, "exists already");
  expect_refusal({model_, folder_ / "no/such"}, "cannot be reached");
  expect_refusal({folder_ / "absent", packed_}, "absent");
  expect_refusal({model_, model_}, "would replace");
  expect_refusal({model_, packed_, "--seed", "1"}, "goes with --random");
  expect_refusal({packed_, "--random", "--preset", "S/8", "--heads", "2"}, "a preset has its own");
  ASSERT_EQ(run({"convert", model_, packed_, "--format", "packed"}).exit_code, 0);
  expect_refusal({packed_, folder_ / "again"}, "is packed, in bf16");
}

TEST_F(ConvertTest, FoldersThatCannotBeAreRefusedBeforeAnyWork) {
  expect_refusal({model_, ""}, "expected the name of a file or folder, found none");
  expect_refusal({model_, "", "--format", "packed"}, "expected the name of a file or folder");
  std::filesystem::create_directory_symlink(folder_ / "nothing", folder_ / "link");
  expect_refusal({model_, folder_ / "link"}, "exists already");
  for (const std::string ending : {"", "/", ".safetensors"}) {
    expect_refusal({model_, folder_ / std::string(250, 'n') + ending}, "expected a shorter name");
  }
}

TEST_F(ConvertTest, FilesOfTheInputAreNotReplaced) {
  const auto model = networks::ModelFile::open(model_);
  const std::string shards = folder_ / "shards";
  networks::write_model(
      shards,
      networks::FileWeights(model),
      networks::write_metadata(model.config(), model.class_names(), model.sampling()),
      {.shard_bytes = 30'000});
  const std::string index = shards + "/model.safetensors.index.json";
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(shards)) {
    files.push_back(entry.path().string());
  }
  ASSERT_GT(files.size(), 3U);
  for (const std::string& file : files) {
    const std::string before = formats::read_text(file);
    for (const std::string& input : {shards, index}) {
      expect_refusal({input, file, "--format", "packed"}, "would replace");
      EXPECT_TRUE(formats::read_text(file) == before) << file;
    }
  }
  expect_refusal({model_, folder_ / "shards/../tiny.safetensors"}, "would replace");
  // A file that only stands beside them is another.
  const Outcome outcome = run({"convert", shards, shards + "/whole.safetensors"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

TEST_F(ConvertTest, ValuesBeyondTheTypeAreRefused) {
  const std::string name = "blocks.1.attn.qkv.weight";
  const auto offset = formats::TensorFile::open(model_)->entry(name).offset;
  constexpr float kLarge = 70000;
  std::string bytes = formats::read_text(model_);
  bytes.replace(offset, sizeof kLarge, reinterpret_cast<const char*>(&kLarge), sizeof kLarge);
  formats::write_text(model_, bytes);
  expect_refusal({model_, folder_ / "f16.safetensors", "--dtype", "f16"},
                 "tensor 'blocks.1.attn.qkv.weight': expected values of at most 65504, the largest "
                 "of F16, found 70000");
  expect_refusal({model_, folder_ / "f16", "--dtype", "f16"}, "f16: tensor 'blocks.1.attn.qkv");
  const Outcome outcome = run({"convert", model_, folder_ / "bf16.safetensors", "--dtype", "bf16"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

TEST_F(ConvertTest, PlainFilesAreTheWeightsInTheTypeAskedFor) {
  const std::string narrow = folder_ / "f16.safetensors";
  ASSERT_EQ(run({"convert", model_, narrow, "--dtype", "f16", "--names", "wqkv"}).exit_code, 0);
  const Outcome inspected = run({"inspect", narrow, "--tensors"});
  EXPECT_THAT(inspected.out, HasSubstr("mostly F16"));
  EXPECT_THAT(inspected.out, HasSubstr("blocks.1.attn.Wqkv.weight"));
  const std::string copy = folder_ / "copy.safetensors";
  ASSERT_EQ(run({"convert", model_, copy}).exit_code, 0);
  EXPECT_EQ(pixels(copy, "f32"), pixels(model_, "f32"));
  const Outcome outcome = run({"convert", model_, folder_ / "new"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("new: safetensors\n"));
  EXPECT_TRUE(formats::read_text(folder_ / "new/model.safetensors") == formats::read_text(copy));
}

TEST_F(ConvertTest, DiffusersFoldersGoBothWays) {
  const std::string original = std::string(DITMOE_TEST_DATA) + "/dense_dit/model.pt";
  const std::string diffusers = folder_ / "transformer";
  const std::string there = folder_ / "there.safetensors";
  const std::string back = folder_ / "back.safetensors";
  ASSERT_EQ(run({"convert", original, there, "--heads", "4"}).exit_code, 0);
  ASSERT_EQ(run({"convert", there, diffusers, "--format", "diffusers"}).exit_code, 0);
  ASSERT_EQ(run({"convert", diffusers, back}).exit_code, 0);
  EXPECT_TRUE(formats::read_text(back) == formats::read_text(there));
}

TEST_F(ConvertTest, SwitchDitGoesToPlainFilesButNotToDiffusers) {
  const std::string original = std::string(DITMOE_TEST_DATA) + "/switch_dit/model.pt";
  const std::string in = std::string(DITMOE_TEST_DATA) + "/switch_dit/forward.npz";
  expect_refusal({original, folder_ / "d", "--heads", "4", "--format", "diffusers"},
                 "with experts chosen by the timestep");
  const std::string plain = folder_ / "plain.safetensors";
  ASSERT_EQ(run({"convert", original, plain, "--heads", "4"}).exit_code, 0);
  const std::string expected = folder_ / "e.npz";
  const std::string found = folder_ / "f.npz";
  ASSERT_EQ(
      run({"probe", "forward", original, "--heads", "4", "--in", in, "--out", expected}).exit_code,
      0);
  ASSERT_EQ(run({"probe", "forward", plain, "--in", in, "--out", found}).exit_code, 0);
  EXPECT_TRUE(formats::read_text(found) == formats::read_text(expected));
}

TEST_F(ConvertTest, MemoryIsBounded) {
  const std::string large = folder_ / "large.safetensors";
  ASSERT_EQ(
      run({"convert", "--random", "--preset", "B/2", "--format", "safetensors", large, "--quiet"})
          .exit_code,
      0);
  EXPECT_GT(std::filesystem::file_size(large), 500'000'000U);
  Process process({"convert", large, folder_ / "half.safetensors", "--dtype", "f16", "--quiet"});
  EXPECT_EQ(process.wait(), 0);
  EXPECT_LT(process.peak_bytes(), 200'000'000U);
  EXPECT_GT(process.peak_bytes(), 10'000'000U);
}

TEST_F(ConvertTest, KilledRunsLeaveNothing) {
  const int nameless = ::open(folder_.path().c_str(), O_TMPFILE | O_WRONLY, 0600);
  if (nameless < 0) GTEST_SKIP() << "this file system has no files without a name";
  ::close(nameless);
  const std::vector<std::string> before = folder_.names();
  for (const char* name : {"large.safetensors", "folder"}) {
    Process process({"convert",
                     "--random",
                     "--preset",
                     "G/2-16E2A",
                     folder_ / name,
                     "--format",
                     "safetensors"});
    EXPECT_TRUE(process.wait_until_written(20'000'000));
    process.kill();
    EXPECT_EQ(process.wait(), 128);
    EXPECT_EQ(folder_.names(), before) << name;
  }
}

TEST_F(ConvertTest, PackedFileHasItsOwnPrecision) {
  ASSERT_EQ(run({"convert", model_, packed_, "--dtype", "int8"}).exit_code, 0);
  const Outcome outcome =
      run({"sample", packed_, "--dtype", "f32", "-o", folder_ / "x.npz", "--quiet"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("packed in int8 and cannot be computed in f32"));
}

TEST_F(ConvertTest, MemoryThatCannotBeIsRefused) {
  ASSERT_EQ(run({"convert", model_, packed_, "--dtype", "int8"}).exit_code, 0);
  for (const auto& [memory, message] :
       {std::pair{"12X", "expected a size like 12G"}, {"1M", "--memory allows 1.0 MiB"}}) {
    const Outcome outcome =
        run({"sample", packed_, "--memory", memory, "-o", folder_ / "x.npz", "--quiet"});
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(message));
  }
}

TEST_F(ConvertTest, BenchesOfAModelEndInJson) {
  const Outcome sample = run({"bench",
                              "sample",
                              model_,
                              "--count",
                              "2",
                              "--steps",
                              "2",
                              "--repetitions",
                              "1",
                              "--json",
                              "--quiet"});
  ASSERT_EQ(sample.exit_code, 0) << sample.err;
  EXPECT_GT(base::parse_json(last_line(sample.out), "bench").at("images_per_second"), 0);
  const Outcome precision = run({"bench",
                                 "precision",
                                 model_,
                                 "--dtype",
                                 "int8",
                                 "--images",
                                 "2",
                                 "--levels",
                                 "2",
                                 "--json",
                                 "--quiet"});
  ASSERT_EQ(precision.exit_code, 0) << precision.err;
  const base::Json json = base::parse_json(last_line(precision.out), "bench");
  ASSERT_EQ(json.at("compared").size(), 1U);
  const base::Json& compared = json.at("compared").front();
  EXPECT_EQ(compared.at("dtype"), "int8");
  EXPECT_GT(compared.at("nmse"), 0);
  EXPECT_LT(compared.at("nmse"), 0.01);
  EXPECT_EQ(compared.at("levels").size(), 2U);
}

}  // namespace
}  // namespace ditmoe::apps
