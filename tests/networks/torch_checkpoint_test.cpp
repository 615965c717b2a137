#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/networks/dit_executor.h"

#include "tests/support/arrays.h"

// Checkpoints as PyTorch's trainers and releases write them, of known weights.

namespace ditmoe::networks {
namespace {

std::string data(const std::string& name) { return std::string(DITMOE_TEST_DATA) + "/" + name; }

struct Checkpoint {
  const char* name;
  const char* folder;
  const char* file;
  int64_t heads;
  double tolerance;  // relative to the largest magnitude of the output
};

std::vector<float> floats(const std::map<std::string, base::Tensor>& arrays,
                          const std::string& name) {
  const base::Tensor values = base::convert(arrays.at(name).view(), base::DType::kF32);
  return {values.as<float>().begin(), values.as<float>().end()};
}

class ReferenceCheckpointTest : public ::testing::TestWithParam<Checkpoint> {
 protected:
  static std::string path(const std::string& file) {
    return data(std::string(GetParam().folder) + "/" + file);
  }
};

TEST_P(ReferenceCheckpointTest, ForwardAgreesWithTheReference) {
  const Checkpoint& checkpoint = GetParam();
  const auto arrays = formats::read_npz(path("forward.npz"));
  const ModelFile model = ModelFile::open(path(checkpoint.file), {.heads = checkpoint.heads});
  EXPECT_EQ(model.file()->format(), formats::FileFormat::kPytorch);
  base::ThreadPool pool(2);
  DitExecutor executor(model, {}, pool);
  const std::vector<float> labels = floats(arrays, "y");
  const std::vector<float> expected = floats(arrays, "out");
  std::vector<float> out(expected.size());
  executor.predict(floats(arrays, "x"),
                   floats(arrays, "t"),
                   std::vector<int32_t>(labels.begin(), labels.end()),
                   out);
  EXPECT_TRUE(tests::close(out, expected, checkpoint.tolerance));
}

// What 16 bits keep: 11 and 8 of the 24 bits of a weight.
constexpr double kF16 = 1e-3;
constexpr double kBF16 = 1e-2;

INSTANTIATE_TEST_SUITE_P(
    Reference,
    ReferenceCheckpointTest,
    ::testing::Values(Checkpoint{"MoePlain", "moe_plain", "model.pt", 4, 1e-4},
                      Checkpoint{"MoePlainTrainer", "moe_plain", "train.pt", 4, 1e-4},
                      Checkpoint{"MoePlainF16", "moe_plain", "bare_f16.pt", 4, kF16},
                      Checkpoint{"MoePlainBF16", "moe_plain", "bare_bf16.pt", 4, kBF16},
                      Checkpoint{"MoeQkNorm", "moe_qknorm", "model.pt", 2, 1e-4},
                      Checkpoint{"MoeQkNormF16", "moe_qknorm", "bare_f16.pt", 2, kF16},
                      Checkpoint{"MoeQkNormBF16", "moe_qknorm", "bare_bf16.pt", 2, kBF16},
                      Checkpoint{"DenseDit", "dense_dit", "model.pt", 4, 1e-4},
                      Checkpoint{"SwitchDit", "switch_dit", "model.pt", 4, 1e-4}),
    [](const auto& checkpoint) { return std::string(checkpoint.param.name); });

bool equal(const base::TensorView& left, const base::TensorView& right) {
  return left.dtype == right.dtype && left.shape == right.shape &&
         std::memcmp(left.data, right.data, left.bytes()) == 0;
}

TEST(TorchCheckpointTest, EmaAndModelOfATrainingCheckpointAreToldApart) {
  const auto open = [](std::optional<formats::WeightSet> weights) {
    return ModelFile::open(data("moe_plain/train.pt"), {.heads = 4, .weights = weights});
  };
  const ModelFile initial = ModelFile::open(data("moe_plain/model.pt"), {.heads = 4});
  const auto step = formats::read_npz(data("moe_plain/train_step.npz"));
  const ModelFile ema = open(formats::WeightSet::kEma);
  const ModelFile model = open(formats::WeightSet::kModel);
  const ModelFile preferred = open({});
  int changed = 0;
  for (const TensorSpec& spec : tensor_specs(initial.config())) {
    EXPECT_TRUE(equal(ema.weight(spec.name), initial.weight(spec.name))) << spec.name;
    EXPECT_TRUE(equal(preferred.weight(spec.name), initial.weight(spec.name))) << spec.name;
    const base::Tensor& after = step.at("after/" + model.name_in_file(spec.name));
    EXPECT_TRUE(equal(model.weight(spec.name), after.view())) << spec.name;
    changed += equal(model.weight(spec.name), initial.weight(spec.name)) ? 0 : 1;
  }
  EXPECT_GT(changed, 50);
}

TEST(TorchCheckpointTest, NarrowFilesHoldTheRoundedWeights) {
  for (const std::string folder : {"moe_plain", "moe_qknorm"}) {
    const ModelFile full = ModelFile::open(data(folder + "/model.pt"), {.heads = 2});
    for (const auto& [file, dtype] : {std::pair("/bare_f16.pt", base::DType::kF16),
                                      std::pair("/bare_bf16.pt", base::DType::kBF16)}) {
      const ModelFile narrow = ModelFile::open(data(folder + file), {.heads = 2});
      EXPECT_EQ(narrow.dtype(), dtype);
      for (const TensorSpec& spec : tensor_specs(full.config())) {
        const base::Tensor rounded = base::convert(full.weight(spec.name), dtype);
        EXPECT_TRUE(equal(narrow.weight(spec.name), rounded.view())) << spec.name;
      }
    }
  }
}

TEST(TorchCheckpointTest, TrainingArgumentsAreKept) {
  const ModelFile model = ModelFile::open(data("moe_plain/train.pt"), {.heads = 4});
  EXPECT_EQ(model.metadata().at("args.model"), "DiT-S/2");
  EXPECT_EQ(model.metadata().at("args.num_experts"), "4");
  // The name of a preset does not win over the shapes of the tensors.
  EXPECT_EQ(model.config().width, 32);
  EXPECT_EQ(model.config().depth, 2);
}

}  // namespace
}  // namespace ditmoe::networks
