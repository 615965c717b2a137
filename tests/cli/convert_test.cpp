#include <filesystem>
#include <gmock/gmock.h>

#include <gtest/gtest.h>

#include "ditmoe/base/json.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/npz.h"

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
    const Outcome outcome = run({"convert", model_, packed_, "--dtype", dtype});
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
  expect_refusal({model_, packed_, "--dtype", "int4"}, "expected f32, bf16 or int8");
  expect_refusal({model_, folder_ / "no/such"}, "cannot be reached");
  expect_refusal({folder_ / "absent", packed_}, "absent");
  expect_refusal({model_, model_}, "is the file to convert");
  expect_refusal({model_, packed_, "--seed", "1"}, "goes with --random");
  expect_refusal({packed_, "--random", "--preset", "S/8", "--heads", "2"}, "a preset has its own");
  ASSERT_EQ(run({"convert", model_, packed_}).exit_code, 0);
  expect_refusal({packed_, folder_ / "again"}, "is packed already, in bf16");
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
