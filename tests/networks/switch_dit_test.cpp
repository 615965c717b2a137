// Switch-DiT: the reference's checkpoint, what it tells, and files made from it.

#include <algorithm>
#include <filesystem>
#include <functional>
#include <gmock/gmock.h>
#include <map>
#include <string>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/networks/dit_executor.h"
#include "ditmoe/networks/packed_file.h"

#include "tests/support/arrays.h"

namespace ditmoe::networks {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string data(const std::string& name) {
  return std::string(DITMOE_TEST_DATA) + "/switch_dit/" + name;
}

class SwitchDitTest : public ::testing::Test {
 protected:
  ~SwitchDitTest() override { std::filesystem::remove(path_); }

  static ModelFile reference() { return ModelFile::open(data("model.pt"), {.heads = 4}); }

  std::vector<float> floats(const std::string& name) const {
    const base::Tensor values = base::convert(arrays_.at(name).view(), base::DType::kF32);
    return {values.as<float>().begin(), values.as<float>().end()};
  }

  std::vector<float> forward(const ModelFile& model,
                             const ExecutorOptions& options,
                             RoutingTrace& trace) {
    const std::vector<float> labels = floats("y");
    std::vector<float> out(floats("out").size());
    DitExecutor(model, options, pool_)
        .predict_traced(floats("x"),
                        floats("t"),
                        std::vector<int32_t>(labels.begin(), labels.end()),
                        out,
                        trace);
    return out;
  }

  std::vector<float> forward(const ModelFile& model, const ExecutorOptions& options = {}) {
    RoutingTrace trace;
    return forward(model, options, trace);
  }

  std::map<std::string, base::Tensor> arrays_ = formats::read_npz(data("forward.npz"));
  base::ThreadPool pool_{2};
  std::string path_ = (std::filesystem::temp_directory_path() /
                       ("ditmoe-switch-" + std::to_string(::getpid()) + ".safetensors"))
                          .string();
};

TEST_F(SwitchDitTest, CheckpointTellsItsConfiguration) {
  const ModelFile model = reference();
  const DitConfig& config = model.config();
  EXPECT_EQ(config.depth, 2);
  EXPECT_EQ(config.width, 64);
  EXPECT_EQ(config.feed_forward, FeedForward::kGelu);
  EXPECT_EQ(config.time_experts, 3);
  EXPECT_EQ(config.time_top_k, 2);
  EXPECT_EQ(total_parameters(config), 208'550);  // elements of all tensors but the prior's
  EXPECT_EQ(model.name_in_file("routers.1.experts.w"), "routers.1.experts.w");
  const ModelFile retold = ModelFile::open(data("model.pt"), {.heads = 4, .top_k = 3});
  EXPECT_EQ(retold.config().time_top_k, 3);
}

TEST_F(SwitchDitTest, ChoicesAreTheReferences) {
  RoutingTrace trace;
  EXPECT_TRUE(tests::close(forward(reference(), {}, trace), floats("out"), 1e-4));
  const std::vector<float> all = floats("router_probs");  // [images, layers, experts]
  ASSERT_EQ(trace.moe_layers, 2);
  ASSERT_EQ(trace.tokens, 3);
  ASSERT_EQ(trace.top_k, 2);
  std::vector<int32_t> index;
  std::vector<float> weight;
  for (size_t layer = 0; layer < 2; ++layer) {
    for (size_t image = 0; image < 3; ++image) {
      const float* one = all.data() + (image * 2 + layer) * 3;
      const auto least = std::min_element(one, one + 3) - one;
      for (int32_t expert = 0; expert < 3; ++expert) {
        if (expert == least) continue;
        index.push_back(expert);
        weight.push_back(one[expert]);
      }
    }
  }
  EXPECT_EQ(trace.index, index);
  EXPECT_TRUE(tests::close(trace.weight, weight, 1e-5));
}

TEST_F(SwitchDitTest, OwnAndPackedFilesComputeTheSame) {
  const ModelFile model = reference();
  const std::vector<float> expected = forward(model);
  std::vector<base::Tensor> tensors;
  formats::NamedTensors views;
  for (const TensorSpec& spec : tensor_specs(model.config())) {
    tensors.push_back(base::convert(model.weight(spec.name), base::DType::kF32));
    views.emplace_back(spec.name, tensors.back().view());
  }
  save_model(
      path_, model.config(), views, {}, default_sampling(Objective::kDdpm), base::DType::kF32);
  EXPECT_EQ(ModelFile::open(path_).config(), model.config());
  EXPECT_EQ(forward(ModelFile::open(path_)), expected);
  EXPECT_THROW(ModelFile::open(path_, {.top_k = 1}), base::Error);

  for (const auto precision :
       {kernels::Precision::kF32, kernels::Precision::kBf16, kernels::Precision::kInt8}) {
    write_packed(path_,
                 FileWeights(model),
                 precision,
                 write_metadata(model.config(), {}, model.sampling()),
                 pool_);
    const ModelFile packed = ModelFile::open(path_);
    EXPECT_EQ(packed.config(), model.config());
    EXPECT_EQ(forward(packed, {.precision = precision}), forward(model, {.precision = precision}));
  }
}

// Half as many bits in the weights: the same experts, and an output as near as those bits allow.
TEST_F(SwitchDitTest, OtherPrecisionsAreNear) {
  const ModelFile model = reference();
  const std::vector<float> exact = floats("out");
  for (const auto& [precision, bound] :
       {std::pair{kernels::Precision::kBf16, 5e-5}, {kernels::Precision::kInt8, 5e-4}}) {
    const std::vector<float> out = forward(model, {.precision = precision});
    double error = 0;
    double power = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      error += (double{out[i]} - exact[i]) * (double{out[i]} - exact[i]);
      power += double{exact[i]} * exact[i];
    }
    EXPECT_LT(error / power, bound) << kernels::to_word(precision);
  }
}

// A foreign safetensors file of a small Switch-DiT with these buffers.
class PriorTest : public SwitchDitTest {
 protected:
  static DitConfig config() {
    DitConfig config;
    config.image_size = 4;
    config.channels = 1;
    config.width = 8;
    config.depth = 3;
    config.heads = 2;
    config.num_classes = 2;
    config.feed_forward = FeedForward::kGelu;
    config.time_experts = 4;
    config.time_top_k = 2;
    return config;
  }

  ModelFile open_with(const std::map<std::string, base::Tensor>& buffers,
                      const DitConfig& network = config(),
                      const ModelOverrides& overrides = {.heads = 2}) {
    std::vector<base::Tensor> tensors;
    formats::NamedTensors views;
    for (const TensorSpec& spec : tensor_specs(network)) {
      tensors.emplace_back(base::DType::kF32, spec.shape);
      views.emplace_back("module." + spec.name, tensors.back().view());
    }
    for (const auto& [name, tensor] : buffers) views.emplace_back(name, tensor.view());
    formats::write_safetensors(path_, views, {});
    return ModelFile::open(path_, overrides);
  }

  std::string error_with(const std::map<std::string, base::Tensor>& buffers,
                         const DitConfig& network = config()) {
    try {
      open_with(buffers, network);
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
      return error.what();
    }
    return {};
  }

  // [1000, 12] with so many ones at the beginning of each row.
  static base::Tensor mapping(int64_t ones) {
    base::Tensor values(base::DType::kF32, {1000, 12});
    for (int64_t i = 0; i < values.size(); ++i) {
      values.as<float>()[static_cast<size_t>(i)] = i % 12 < ones ? 1.0f : 0.0f;
    }
    return values;
  }

  static std::map<std::string, base::Tensor> only(std::string name, base::Tensor tensor) {
    std::map<std::string, base::Tensor> buffers;
    buffers.emplace(std::move(name), std::move(tensor));
    return buffers;
  }
};

TEST_F(PriorTest, TellsHowManyExpertsAnImageTakes) {
  for (int64_t top_k = 1; top_k <= 4; ++top_k) {
    const auto buffers = only("module.prior._unit_mapping", mapping(3 * top_k));
    EXPECT_EQ(open_with(buffers).config().time_top_k, top_k);
    EXPECT_EQ(open_with(buffers, config(), {.heads = 2, .top_k = 3}).config().time_top_k, 3);
  }
  // depth · E · (K / E) may have been rounded down to one less.
  EXPECT_EQ(open_with(only("prior._unit_mapping", mapping(8))).config().time_top_k, 3);
}

TEST_F(PriorTest, MayBeMissing) {
  EXPECT_EQ(open_with({}).config(), config());
  DitConfig one = config();
  one.time_experts = one.time_top_k = 1;
  EXPECT_EQ(open_with({}, one).config(), one);
  EXPECT_EQ(open_with(only("prior._unit_mapping", mapping(0))).config().time_top_k, 2);
  EXPECT_EQ(open_with(only("full_time", base::Tensor(base::DType::kI64, {1000}))).config(),
            config());
}

TEST_F(PriorTest, FaultsAreNamed) {
  const auto place = HasSubstr("tensor 'prior._unit_mapping'");
  const auto error = [&](base::Shape shape) {
    return error_with(only("prior._unit_mapping", base::Tensor(base::DType::kF32, shape)));
  };
  EXPECT_THAT(error({1000, 13}),
              AllOf(place, HasSubstr("expected [1000, a multiple of 4], found [1000, 13]")));
  EXPECT_THAT(error({999, 12}), AllOf(place, HasSubstr("[999, 12]")));
  EXPECT_THAT(error({12000}), AllOf(place, HasSubstr("[12000]")));
  EXPECT_THAT(error({1000, 0}), AllOf(place, HasSubstr("[1000, 0]")));
  base::Tensor half = mapping(6);
  half.as<float>()[2] = 0.5f;
  EXPECT_THAT(error_with(only("prior._unit_mapping", std::move(half))),
              AllOf(place, HasSubstr("expected ones and zeros, found 0.5")));
}

TEST_F(PriorTest, NoOtherNetworkHasOne) {
  DitConfig dense = config();
  dense.time_experts = dense.time_top_k = 0;
  EXPECT_THAT(error_with(only("prior._unit_mapping", mapping(6)), dense),
              HasSubstr("none of this network's"));
}

TEST_F(PriorTest, BlocksWithoutExpertsAreNamed) {
  const DitConfig network = config();
  std::vector<base::Tensor> tensors;
  formats::NamedTensors views;
  for (const TensorSpec& spec : tensor_specs(network)) {
    if (spec.name.starts_with("routers.2.")) continue;
    tensors.emplace_back(base::DType::kF32, spec.shape);
    views.emplace_back(spec.name, tensors.back().view());
  }
  formats::write_safetensors(path_, views, {});
  try {
    ModelFile::open(path_, {.heads = 2});
    ADD_FAILURE() << "a block without its experts was accepted";
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("expected tensor 'routers.2.f_gate.1.weight' [4, 8]"));
  }
}

}  // namespace
}  // namespace ditmoe::networks
