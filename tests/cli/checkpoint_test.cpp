// Commands on PyTorch checkpoints.

#include <algorithm>
#include <gmock/gmock.h>

#include <gtest/gtest.h>

#include "ditmoe/base/json.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/npz.h"

#include "program.h"
#include "tests/support/arrays.h"

namespace ditmoe::apps {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string data(const std::string& name) { return std::string(DITMOE_TEST_DATA) + "/" + name; }

// The output of a forward of moe_plain with these arguments after the model.
std::vector<float> forward(const std::string& model, std::vector<std::string> arguments) {
  const TemporaryFolder folder;
  std::vector<std::string> all = {"probe",
                                  "forward",
                                  model,
                                  "--heads",
                                  "4",
                                  "--in",
                                  data("moe_plain/forward.npz"),
                                  "--out",
                                  folder / "o.npz"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const Outcome outcome = run(all);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto arrays = formats::read_npz(folder / "o.npz");
  const auto out = arrays.at("out").as<float>();
  return {out.begin(), out.end()};
}

TEST(CheckpointTest, InspectTellsWhatATrainerSaved) {
  const Outcome outcome = run({"inspect", data("moe_plain/train.pt"), "--heads", "4", "--tensors"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* words : {"(PyTorch, ",
                            "mostly F32)",
                            "4 routed of width 128, top 2",
                            "args.model: DiT-S/2",
                            "blocks.1.moe.experts.3.up_proj.weight"}) {
    EXPECT_THAT(outcome.out, HasSubstr(words));
  }
  const Outcome json = run({"inspect", data("moe_qknorm/bare_bf16.pt"), "--json"});
  EXPECT_EQ(json.exit_code, 0) << json.err;
  const base::Json parsed = base::parse_json(json.out, "stdout");
  EXPECT_EQ(parsed.at("format"), "PyTorch");
  EXPECT_EQ(parsed.at("dtype"), "BF16");
  EXPECT_EQ(parsed.at("config").at("heads"), 2);
}

TEST(CheckpointTest, SwitchDitIsInspectedProbedPackedAndDrawn) {
  const TemporaryFolder folder;
  const std::string model = data("switch_dit/model.pt");
  const Outcome inspected = run({"inspect", model, "--heads", "4", "--tensors"});
  EXPECT_EQ(inspected.exit_code, 0) << inspected.err;
  for (const char* words :
       {"3 before each layer, chosen by time, top 2; dense MLP with GELU, width 256",
        "208,550 total, 200,230 activated",
        "prior._unit_mapping"}) {
    EXPECT_THAT(inspected.out, HasSubstr(words));
  }
  const std::string in = data("switch_dit/forward.npz");
  const Outcome probed =
      run({"probe", "forward", model, "--heads", "4", "--in", in, "--out", folder / "o.npz"});
  EXPECT_EQ(probed.exit_code, 0) << probed.err;
  const auto arrays = formats::read_npz(folder / "o.npz");
  EXPECT_EQ(arrays.at("route_index").shape(), (base::Shape{2, 3, 2}));
  const auto reference = formats::read_npz(in);
  const auto expected = reference.at("out").as<float>();
  const auto out = arrays.at("out").as<float>();
  EXPECT_TRUE(tests::close({out.begin(), out.end()}, {expected.begin(), expected.end()}, 1e-4));
  const std::string packed = folder / "packed.safetensors";
  const Outcome converted =
      run({"convert", model, packed, "--heads", "4", "--format", "packed", "--dtype", "f32"});
  EXPECT_EQ(converted.exit_code, 0) << converted.err;
  const auto drawn = [&](std::vector<std::string> arguments) {
    for (const char* word :
         {"--quiet", "--sampler", "ddim", "--steps", "3", "--labels", "1,2", "-o"}) {
      arguments.emplace_back(word);
    }
    arguments.push_back(folder / "i.npz");
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return formats::read_text(folder / "i.npz");
  };
  EXPECT_EQ(drawn({"sample", model, "--heads", "4"}), drawn({"sample", packed}));
}

TEST(CheckpointTest, WeightsAreChosenByAFlag) {
  const std::string train = data("moe_plain/train.pt");
  const std::vector<float> initial = forward(data("moe_plain/model.pt"), {});
  EXPECT_EQ(forward(train, {}), initial);
  EXPECT_EQ(forward(train, {"--weights", "ema"}), initial);
  EXPECT_NE(forward(train, {"--weights", "model"}), initial);
}

TEST(CheckpointTest, ImagesAreDrawnFromTheWeightsChosen) {
  const TemporaryFolder folder;
  const auto sample = [&](const std::string& model, std::vector<std::string> arguments) {
    std::vector<std::string> all = {"sample", data(model), "--heads", "4", "--quiet"};
    all.insert(all.end(), {"--sampler", "ddim", "--steps", "2", "--labels", "1,2"});
    all.insert(all.end(), {"-o", folder / "o.npz"});
    all.insert(all.end(), arguments.begin(), arguments.end());
    const Outcome outcome = run(all);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return formats::read_text(folder / "o.npz");
  };
  const std::string initial = sample("moe_plain/model.pt", {});
  EXPECT_EQ(sample("moe_plain/train.pt", {}), initial);
  EXPECT_NE(sample("moe_plain/train.pt", {"--weights", "model"}), initial);
}

TEST(CheckpointTest, WrongFilesAndWordsAreOneLine) {
  const TemporaryFolder folder;
  const auto refusal = [](const std::vector<std::string>& arguments) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    return outcome.err;
  };
  const std::string bare = data("moe_plain/bare_f16.pt");
  EXPECT_THAT(refusal({"inspect", bare, "--heads", "4", "--weights", "ema"}),
              AllOf(HasSubstr("bare_f16.pt: expected EMA weights"), HasSubstr("\"pos_embed\"")));
  EXPECT_THAT(refusal({"inspect", bare, "--weights", "best"}),
              HasSubstr("--weights: expected ema or model, found \"best\""));
  EXPECT_THAT(refusal({"inspect", bare}), HasSubstr("--heads"));
  EXPECT_THAT(refusal({"inspect", data("moe_plain/forward.npz")}),
              HasSubstr("found a zip archive without data.pkl"));
  EXPECT_THAT(refusal({"inspect", data("README.md")}), HasSubstr("a file that begins with"));
  formats::write_text(folder / "cut.pt", formats::read_text(bare).substr(0, 100'000));
  EXPECT_THAT(refusal({"sample", folder / "cut.pt", "-o", folder / "o.png"}),
              HasSubstr("cut.pt: byte 99978: expected the end of a zip archive"));
  EXPECT_THAT(folder.names(), testing::ElementsAre("cut.pt"));
}

}  // namespace
}  // namespace ditmoe::apps
