// The probes against what the reference implementations computed.

#include <algorithm>
#include <cmath>
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

constexpr double kForwardTolerance = 1e-4;
constexpr double kSampleTolerance = 1e-3;

std::string data(const std::string& name) { return std::string(DITMOE_TEST_DATA) + "/" + name; }

base::Json reference_config(const std::string& model) {
  return base::parse_json(formats::read_text(data(model + "/config.json")), model);
}

// Largest difference relative to the largest magnitude expected.
double relative_error(const base::Tensor& found, const base::TensorView& expected) {
  EXPECT_EQ(found.shape(), expected.shape);
  if (found.shape() != expected.shape) return 1;
  const auto a = found.as<float>();
  const auto b = expected.as<float>();
  double difference = 0;
  double magnitude = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i])) return 1;
    difference = std::max(difference, std::abs(static_cast<double>(a[i]) - b[i]));
    magnitude = std::max(magnitude, std::abs(static_cast<double>(b[i])));
  }
  return difference / magnitude;
}

class ProbeForwardTest : public testing::TestWithParam<const char*> {};

TEST_P(ProbeForwardTest, AgreesWithTheReference) {
  const std::string model = GetParam();
  const TemporaryFolder folder;
  const std::string heads = std::to_string(reference_config(model).at("num_heads").get<int>());
  const Outcome outcome = run({"probe",
                               "forward",
                               data(model + "/model.safetensors"),
                               "--in",
                               data(model + "/forward.npz"),
                               "--out",
                               folder / "o.npz",
                               "--heads",
                               heads});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(folder.names(), std::vector<std::string>{"o.npz"});
  const auto expected = formats::read_npz(data(model + "/forward.npz"));
  const auto found = formats::read_npz(folder / "o.npz");
  EXPECT_LT(relative_error(found.at("out"), expected.at("out").view()), kForwardTolerance);
  ASSERT_EQ(found.contains("out_t_fraction"), expected.contains("t_fraction"));
  if (expected.contains("t_fraction")) {
    EXPECT_LT(relative_error(found.at("out_t_fraction"), expected.at("out_t_fraction").view()),
              kForwardTolerance);
  }
  ASSERT_EQ(found.contains("route_index"), expected.contains("route_index"));
  if (!expected.contains("route_index")) return;
  ASSERT_EQ(found.at("route_index").shape(), expected.at("route_index").shape());
  EXPECT_THAT(found.at("route_index").as<int64_t>(),
              testing::ElementsAreArray(expected.at("route_index").as<int64_t>()));
  EXPECT_LT(relative_error(found.at("route_weight"), expected.at("route_weight").view()),
            kForwardTolerance);
}

INSTANTIATE_TEST_SUITE_P(Models,
                         ProbeForwardTest,
                         testing::Values("moe_plain", "moe_qknorm", "dense_dit"));

class ProbeSampleTest : public testing::TestWithParam<const char*> {
 protected:
  // Runs `probe sample` on a file of the reference with its guidance, and returns its `out`.
  base::Tensor sample(const std::string& input,
                      const std::string& sampler,
                      int steps,
                      const std::string& channels) {
    const std::string model = GetParam();
    const auto arrays = formats::read_npz(data(model + "/" + input));
    const std::string heads = std::to_string(reference_config(model).at("num_heads").get<int>());
    const double cfg = arrays.at("cfg_scale").as<double>()[0];
    const Outcome outcome = run({"probe",
                                 "sample",
                                 data(model + "/model.safetensors"),
                                 "--in",
                                 data(model + "/" + input),
                                 "--out",
                                 folder_ / "o.npz",
                                 "--heads",
                                 heads,
                                 "--sampler",
                                 sampler,
                                 "--steps",
                                 std::to_string(steps),
                                 "--cfg",
                                 std::to_string(cfg),
                                 "--cfg-channels",
                                 channels});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.exit_code == 0 ? formats::read_npz(folder_ / "o.npz").at("out").clone()
                                  : base::Tensor();
  }

  TemporaryFolder folder_;
};

TEST_P(ProbeSampleTest, DdpmAndDdim) {
  for (const std::string sampler : {"ddpm", "ddim"}) {
    const std::string input = "sample_" + sampler + "8.npz";
    const auto expected = formats::read_npz(data(std::string(GetParam()) + "/" + input));
    EXPECT_LT(relative_error(sample(input, sampler, 8, "3"), expected.at("out").view()),
              kSampleTolerance)
        << sampler;
  }
}

TEST_P(ProbeSampleTest, Euler) {
  const auto arrays = formats::read_npz(data(std::string(GetParam()) + "/sample_rf6.npz"));
  // The last point of the trajectory [7, N, C, H, W].
  base::TensorView last = arrays.at("trajectory").view();
  last.shape.erase(last.shape.begin());
  last.data += 6 * last.bytes();
  EXPECT_LT(relative_error(sample("sample_rf6.npz", "euler", 6, "all"), last), kSampleTolerance);
}

INSTANTIATE_TEST_SUITE_P(Models, ProbeSampleTest, testing::Values("moe_plain", "moe_qknorm"));

TEST(ProbeVaeTest, AgreesWithTheReference) {
  const TemporaryFolder folder;
  const Outcome outcome = run({"probe",
                               "vae",
                               data("vae_small/model.safetensors"),
                               "--in",
                               data("vae_small/io.npz"),
                               "--out",
                               folder / "o.npz"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto expected = formats::read_npz(data("vae_small/io.npz"));
  const auto found = formats::read_npz(folder / "o.npz");
  EXPECT_EQ(found.size(), 3U);
  for (const char* name : {"mean", "logvar_clamped", "decoded"}) {
    EXPECT_LT(relative_error(found.at(name), expected.at(name).view()), kForwardTolerance) << name;
  }
}

TEST(ProbeVaeTest, WrongFilesAreNamed) {
  const TemporaryFolder folder;
  const auto refusal = [&folder](const std::string& model, const std::string& input) {
    const Outcome outcome =
        run({"probe", "vae", data(model), "--in", data(input), "--out", folder / "o.npz"});
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_EQ(folder.names(), std::vector<std::string>{});
    return outcome.err;
  };
  EXPECT_THAT(refusal("moe_plain/model.safetensors", "vae_small/io.npz"),
              HasSubstr("moe_plain/model.safetensors: expected tensor 'encoder.conv_in.weight'"));
  EXPECT_THAT(refusal("vae_small/model.safetensors", "moe_plain/forward.npz"),
              HasSubstr("moe_plain/forward.npz: expected array 'image'"));
}

TEST(ProbeTest, OutputThatCannotBeWrittenIsRefusedFirst) {
  for (const char* command : {"forward", "sample", "vae"}) {
    const Outcome outcome =
        run({"probe", command, "/nowhere/m", "--in", "/nowhere/i", "--out", "/nowhere/o.npz"});
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr("/nowhere/o.npz"));
  }
}

TEST(ProbeTest, FilesThatAreReadAreNotReplaced) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "m");
  const std::string in = folder / "in.npz";
  const std::string weights = folder / "m/model.safetensors";
  const auto expect_kept = [&](const char* command, const std::string& original) {
    std::filesystem::copy_file(
        data(original), weights, std::filesystem::copy_options::overwrite_existing);
    formats::write_text(in, "arrays");
    const std::string before = formats::read_text(weights);
    for (const std::string& model : {weights, folder / "m"}) {
      for (const std::string& out : {weights, in}) {
        std::vector<std::string> arguments = {"probe", command, model, "--in", in, "--out", out};
        if (command != std::string("vae")) arguments.insert(arguments.end(), {"--heads", "4"});
        const Outcome outcome = run(arguments);
        EXPECT_EQ(outcome.exit_code, 2);
        EXPECT_THAT(outcome.err, HasSubstr("would replace"));
        EXPECT_TRUE(formats::read_text(weights) == before);
        EXPECT_EQ(formats::read_text(in), "arrays");
      }
    }
  };
  expect_kept("forward", "moe_plain/model.safetensors");
  expect_kept("sample", "moe_plain/model.safetensors");
  expect_kept("vae", "vae_small/model.safetensors");
}

TEST(ProbeTest, WrongArraysAreNamedAndNothingIsWritten) {
  const TemporaryFolder folder;
  write_random_model(folder / "tiny.safetensors", tiny_config());
  const auto refusal = [&folder](const std::string& command, const std::string& input) {
    const Outcome outcome = run({"probe",
                                 command,
                                 folder / "tiny.safetensors",
                                 "--in",
                                 data(input),
                                 "--out",
                                 folder / "o.npz"});
    EXPECT_EQ(outcome.exit_code, 2);
    return outcome.err;
  };
  EXPECT_THAT(refusal("forward", "moe_plain/forward.npz"),
              HasSubstr("array 'x': expected shape [N, 1, 8, 8], found [3, 4, 8, 8]"));
  EXPECT_THAT(refusal("forward", "moe_plain/sample_ddim8.npz"), HasSubstr("expected array 'x'"));
  EXPECT_THAT(refusal("sample", "moe_plain/forward.npz"), HasSubstr("expected array 'z'"));
  EXPECT_EQ(folder.names(), std::vector<std::string>{"tiny.safetensors"});
}

}  // namespace
}  // namespace ditmoe::apps
