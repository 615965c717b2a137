#include <algorithm>
#include <filesystem>
#include <gmock/gmock.h>

#include <gtest/gtest.h>

#include "ditmoe/formats/file.h"
#include "ditmoe/formats/npz.h"

#include "program.h"
#include "tests/support/arrays.h"

namespace ditmoe::apps {
namespace {

using testing::HasSubstr;

std::string data(const std::string& name) { return std::string(DITMOE_TEST_DATA) + "/" + name; }

std::vector<float> forward(const std::string& model) {
  const TemporaryFolder folder;
  const std::string in = data("moe_plain/forward.npz");
  const Outcome outcome = run({"probe", "forward", model, "--in", in, "--out", folder / "o.npz"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  if (outcome.exit_code != 0) return {};
  const auto arrays = formats::read_npz(folder / "o.npz");
  const auto out = arrays.at("out").as<float>();
  return {out.begin(), out.end()};
}

std::string refusal(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "upcycle");
  const Outcome outcome = run(arguments);
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  return outcome.err;
}

// The reference's MoE, whose outputs are known.
TEST(UpcycleTest, MoreExpertsGiveTheReferencesOutput) {
  const TemporaryFolder folder;
  const std::string out = folder / "moe.safetensors";
  const Outcome outcome = run(
      {"upcycle", data("moe_plain/model.pt"), out, "--heads", "4", "--experts", "8", "--quiet"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("8 experts, top 4, 2 shared"));
  EXPECT_THAT(outcome.out, HasSubstr("output at the start: equals that of"));
  EXPECT_THAT(outcome.err, HasSubstr("copies that do not differ learn alike"));
  const auto arrays = formats::read_npz(data("moe_plain/forward.npz"));
  EXPECT_TRUE(tests::close(forward(out), arrays.at("out").as<float>(), 1e-4));
}

TEST(UpcycleTest, RoundingIsSaid) {
  const TemporaryFolder folder;
  for (const char* dtype : {"f32", "bf16", "int8"}) {
    const Outcome outcome = run({"upcycle",
                                 data("moe_plain/model.pt"),
                                 folder / (dtype + std::string(".safetensors")),
                                 "--heads",
                                 "4",
                                 "--experts",
                                 "8",
                                 "--dtype",
                                 dtype});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const bool is_said = outcome.out.find("but for the rounding") != std::string::npos;
    EXPECT_EQ(is_said, std::string(dtype) != "f32") << outcome.out;
  }
}

TEST(UpcycleTest, DenseNetworksBecomeSparseInTheTypeAskedFor) {
  const TemporaryFolder folder;
  networks::DitConfig config = tiny_config();
  config.feed_forward = networks::FeedForward::kSwiglu;
  const std::string dense = folder / "dense.safetensors";
  write_random_model(dense, config);
  const std::string out = folder / "moe.safetensors";
  const Outcome outcome = run({"upcycle", dense, out, "--experts", "4", "--dtype", "bf16"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("4 experts, top 2, 9 shared"));
  const Outcome inspected = run({"inspect", out});
  EXPECT_THAT(inspected.out, HasSubstr("mostly BF16"));
  EXPECT_THAT(inspected.out, HasSubstr("Trouser"));
}

TEST(UpcycleTest, ARouterOfZeroIsToldOf) {
  const TemporaryFolder folder;
  networks::DitConfig config = tiny_config();
  config.feed_forward = networks::FeedForward::kSwiglu;
  const std::string dense = folder / "dense.safetensors";
  write_random_model(dense, config);
  const std::string out = folder / "moe.safetensors";
  const Outcome silent = run({"upcycle", dense, out, "--experts", "4"});
  ASSERT_EQ(silent.exit_code, 0) << silent.err;
  EXPECT_THAT(silent.err, testing::Not(HasSubstr("the router is 0")));
  const Outcome warned = run({"upcycle", dense, out, "--experts", "4", "--router-std", "0"});
  ASSERT_EQ(warned.exit_code, 0) << warned.err;
  EXPECT_THAT(warned.err, HasSubstr("all tokens begin with the first 2 of 4 experts"));
}

TEST(UpcycleTest, TheFileInAFolderIsNotReplaced) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "m");
  const std::string model = folder / "m/model.safetensors";
  write_random_model(model, tiny_config());
  const std::string before = formats::read_text(model);
  EXPECT_THAT(refusal({folder / "m", model, "--experts", "8"}), HasSubstr("would replace"));
  EXPECT_TRUE(formats::read_text(model) == before);
}

TEST(UpcycleTest, WhatCannotBeIsOneLine) {
  const TemporaryFolder folder;
  const std::string model = folder / "tiny.safetensors";
  write_random_model(model, tiny_config());
  const std::string out = folder / "out.safetensors";
  EXPECT_THAT(refusal({model, out}), HasSubstr("--experts"));
  EXPECT_THAT(refusal({model, out, "--experts", "6"}), HasSubstr("a multiple of the 4"));
  EXPECT_THAT(refusal({model, out, "--experts", "8", "--method", "x"}), HasSubstr("--method"));
  EXPECT_THAT(refusal({model, model, "--experts", "8"}), HasSubstr("write to another"));
  EXPECT_THAT(refusal({data("dense_dit/model.pt"), out, "--heads", "4", "--experts", "8"}),
              HasSubstr("model.pt: its MLPs are GELU"));
  EXPECT_THAT(folder.names(), testing::ElementsAre("tiny.safetensors"));
}

}  // namespace
}  // namespace ditmoe::apps
