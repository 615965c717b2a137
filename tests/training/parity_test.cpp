// The torch modules against the reference arrays, against the executor, and ten training steps
// against the PyTorch oracle.

#include <cstdlib>
#include <filesystem>
#include <map>
#include <sys/wait.h>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/networks/dit_executor.h"
#include "ditmoe/networks/model_file.h"
#include "ditmoe/training/adamw.h"

#include "tests/training/torch_support.h"

namespace ditmoe::training {
namespace {

namespace fs = std::filesystem;
using tests::relative_error;

struct Reference {
  const char* folder;
  int64_t heads;
};

class ReferenceTest : public ::testing::TestWithParam<std::tuple<Reference, Kernels>> {
 protected:
  std::string path(const std::string& file) const {
    return fmt::format("{}/{}/{}", DITMOE_TEST_DATA, reference().folder, file);
  }

  const Reference& reference() const { return std::get<0>(GetParam()); }

  Kernels kernels() const { return std::get<1>(GetParam()); }

  networks::ModelFile model() const {
    networks::ModelOverrides overrides;
    overrides.heads = reference().heads;
    return networks::ModelFile::open(path("model.safetensors"), overrides);
  }
};

class Arrays {
 public:
  explicit Arrays(const std::string& path) : path_(path), arrays_(formats::read_npz(path)) {}

  at::Tensor operator[](const std::string& name) const {
    const base::Tensor values =
        base::convert(formats::array(arrays_, name, path_).view(), base::DType::kF32);
    at::Tensor tensor = at::empty(values.shape(), at::kFloat);
    std::copy_n(values.as<float>().data(), values.size(), tensor.data_ptr<float>());
    return tensor;
  }

 private:
  std::string path_;
  std::map<std::string, base::Tensor> arrays_;
};

TrainingBatch batch_of(const Arrays& arrays) {
  return {arrays["x_start"], arrays["y"].to(at::kLong), arrays["t"], arrays["noise"]};
}

TEST_P(ReferenceTest, ForwardAndRouting) {
  const networks::ModelFile file = model();
  const Arrays arrays(path("forward.npz"));
  ParameterSet parameters(file.config());
  load_weights(parameters, file);
  const DitModule module(file.config(), parameters, {kernels()});
  const torch::NoGradGuard no_grad;
  const at::Tensor y = arrays["y"].to(at::kLong);
  const DitOutput result = module.forward(arrays["x"], arrays["t"], y);
  EXPECT_LT(relative_error(result.out, arrays["out"]), 1e-4);
  if (result.route_index_NK.empty()) return;
  EXPECT_TRUE(at::stack(result.route_index_NK).equal(arrays["route_index"].to(at::kLong)));
  EXPECT_LT(relative_error(at::stack(result.route_weight_NK), arrays["route_weight"]), 1e-4);
  const DitOutput fraction = module.forward(arrays["x"], arrays["t_fraction"], y);
  EXPECT_LT(relative_error(fraction.out, arrays["out_t_fraction"]), 1e-4);
}

// Each tensor's gradient within 1e-3 of its largest magnitude. A gradient that is zero in exact
// arithmetic (of k_norm.bias: softmax does not see a shift of all its inputs) holds rounding noise,
// so no tensor's scale is taken below 1e-4 of the network's largest gradient.
void expect_gradients(const Arrays& arrays,
                      const networks::ModelFile& file,
                      ParameterSet& parameters) {
  const double floor = 1e-4 * parameters.gradients().abs().max().item<double>();
  for (const networks::TensorSpec& spec : parameters.specs()) {
    const at::Tensor expected = arrays["grad/" + file.name_in_file(spec.name)];
    const double scale = std::max(floor, expected.abs().max().item<double>());
    const double error = (parameters[spec.name].grad() - expected).abs().max().item<double>();
    EXPECT_LT(error, 1e-3 * scale) << spec.name;
  }
}

TEST_P(ReferenceTest, DdpmLossesGradientsAndUpdate) {
  const networks::ModelFile file = model();
  if (!fs::exists(path("train_ddpm.npz"))) GTEST_SKIP() << "no training arrays for this network";
  const Arrays arrays(path("train_ddpm.npz"));
  networks::DitConfig config = file.config();
  config.balance_factor = 0.01;
  config.balance_pool = networks::BalancePool::kBatch;
  ParameterSet parameters(config);
  load_weights(parameters, file);
  const Losses losses = make_objective(networks::Objective::kDdpm)
                            ->losses(DitModule(config, parameters, {kernels()}), batch_of(arrays));
  EXPECT_LT(relative_error(losses.mse_B, arrays["mse"]), 1e-4);
  EXPECT_LT(relative_error(losses.vb_B, arrays["vb"]), 1e-4);
  EXPECT_LT(relative_error(losses.per_image_B, arrays["loss"]), 1e-4);
  EXPECT_LT(relative_error(at::stack(losses.network.balance_losses), arrays["aux_per_layer"]),
            1e-4);
  losses.total().backward();
  expect_gradients(arrays, file, parameters);

  const torch::NoGradGuard no_grad;
  const Arrays step(path("train_step.npz"));
  at::Tensor ema = parameters.values().clone();
  AdamwState state = make_adamw_state(parameters.values());
  adamw_step({}, 1e-4, 1.0, 0.9999, parameters.gradients(), state, parameters.values(), ema);
  const double noise = 1e-6 * parameters.gradients().abs().max().item<double>();
  int64_t compared = 0;
  int64_t offset = 0;
  for (const networks::TensorSpec& spec : parameters.specs()) {
    const std::string name = file.name_in_file(spec.name);
    const at::Tensor gradient = arrays["grad/" + name];
    // Adam's first step is the gradient's sign: where the gradient is rounding noise, so is it.
    const double floor = std::max(noise, 1e-4 * gradient.abs().max().item<double>());
    const at::Tensor certain = gradient.abs() > floor;
    const auto worst = [&](const at::Tensor& found, const at::Tensor& expected) {
      const at::Tensor difference = (found - expected).abs().masked_select(certain);
      return difference.numel() == 0 ? 0.0 : difference.max().item<double>();
    };
    EXPECT_LT(worst(parameters[spec.name], step["after/" + name]), 1e-5) << name;
    const int64_t size = parameters[spec.name].numel();
    EXPECT_LT(worst(ema.narrow(0, offset, size).view(spec.shape), step["ema/" + name]), 1e-5)
        << name;
    offset += size;
    compared += certain.sum().item<int64_t>();
  }
  EXPECT_GT(compared, parameters.values().numel() / 2);
}

TEST_P(ReferenceTest, RectifiedFlowLossesAndGradients) {
  const networks::ModelFile file = model();
  if (!fs::exists(path("train_rf.npz"))) GTEST_SKIP() << "no training arrays for this network";
  const Arrays arrays(path("train_rf.npz"));
  networks::DitConfig config = file.config();
  config.balance_factor = 0.01;
  config.balance_pool = networks::BalancePool::kBatch;
  ParameterSet parameters(config);
  load_weights(parameters, file);
  const Losses losses = make_objective(networks::Objective::kRectifiedFlow)
                            ->losses(DitModule(config, parameters, {kernels()}), batch_of(arrays));
  EXPECT_LT(relative_error(losses.per_image_B, arrays["loss_per_image"]), 1e-4);
  EXPECT_LT(relative_error(at::stack(losses.network.balance_losses), arrays["aux_per_layer"]),
            1e-4);
  losses.total().backward();
  expect_gradients(arrays, file, parameters);
}

INSTANTIATE_TEST_SUITE_P(Networks,
                         ReferenceTest,
                         ::testing::Combine(::testing::Values(Reference{"moe_plain", 4},
                                                              Reference{"moe_qknorm", 2},
                                                              Reference{"dense_dit", 4}),
                                            ::testing::Values(Kernels::kNative, Kernels::kAten)),
                         [](const auto& instance) {
                           const Kernels kernels = std::get<1>(instance.param);
                           return fmt::format("{}_{}",
                                              std::get<0>(instance.param).folder,
                                              kernels == Kernels::kNative ? "native" : "aten");
                         });

// A file in a temporary folder of this process, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder()
      : path_(fs::temp_directory_path() / fmt::format("ditmoe-parity-{}", ::getpid())) {
    fs::create_directories(path_);
  }

  ~TemporaryFolder() { fs::remove_all(path_); }

  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

void save(const std::string& path,
          const networks::DitConfig& config,
          const ParameterSet& parameters) {
  networks::save_model(path,
                       config,
                       parameters.named(parameters.values(), true),
                       {},
                       networks::default_sampling(config.objective),
                       base::DType::kF32);
}

std::vector<networks::DitConfig> executor_configs() {
  std::vector<networks::DitConfig> configs(6, tests::tiny_config());
  configs[0].experts = 7, configs[0].top_k = 3, configs[0].shared_experts = 4;
  configs[1].qk_norm = true, configs[1].shared_experts = 0;
  configs[2].feed_forward = networks::FeedForward::kSwiglu;
  configs[3].feed_forward = networks::FeedForward::kGelu;
  configs[4].moe_placement = networks::MoePlacement::kDeepHalf, configs[4].expert_width = 24;
  configs[5].feed_forward = networks::FeedForward::kGelu;
  configs[5].time_experts = 5, configs[5].time_top_k = 3;
  return configs;
}

TEST(ExecutorParityTest, ModuleAndExecutorAgree) {
  const torch::NoGradGuard no_grad;
  const TemporaryFolder folder;
  base::ThreadPool pool(2);
  for (const networks::DitConfig& config : executor_configs()) {
    SCOPED_TRACE(networks::to_json(config).dump());
    ParameterSet parameters(config);
    tests::randomise(parameters, 11);
    save(folder.file("model.safetensors"), config, parameters);
    networks::DitExecutor executor(
        networks::ModelFile::open(folder.file("model.safetensors")), {}, pool);
    const TrainingBatch batch = tests::random_batch(config, 3, 5);
    const at::Tensor expected =
        DitModule(config, parameters).forward(batch.x_start, batch.t, batch.y).out;
    const std::vector<int32_t> labels = {0, 1, 2};
    at::Tensor actual = at::empty_like(expected);
    const auto span = [](const at::Tensor& tensor) {
      return std::span<float>(tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel()));
    };
    executor.predict(span(batch.x_start), span(batch.t), labels, span(actual));
    EXPECT_LT(relative_error(actual, expected), 1e-4);
  }
}

base::TensorView view_of(const at::Tensor& tensor) {
  const bool is_float = tensor.scalar_type() == at::kFloat;
  return {is_float ? base::DType::kF32 : base::DType::kI64,
          tensor.sizes().vec(),
          static_cast<const std::byte*>(tensor.data_ptr())};
}

std::vector<double> ten_losses(const networks::DitConfig& config,
                               ParameterSet& parameters,
                               const std::vector<TrainingBatch>& batches) {
  const auto objective = make_objective(config.objective);
  AdamwState state = make_adamw_state(parameters.values());
  at::Tensor ema = parameters.values().clone();
  std::vector<double> losses;
  for (const TrainingBatch& batch : batches) {
    parameters.gradients().zero_();
    const at::Tensor loss = objective->losses(DitModule(config, parameters), batch).total();
    loss.backward();
    losses.push_back(loss.item<double>());
    adamw_step({}, 1e-3, 1.0, 0.999, parameters.gradients(), state, parameters.values(), ema);
  }
  return losses;
}

class TenStepsTest : public ::testing::TestWithParam<networks::Objective> {};

TEST_P(TenStepsTest, LossesEqualTheOracles) {
  networks::DitConfig config = tests::tiny_config();
  config.objective = GetParam();
  config.qk_norm = true;
  ParameterSet parameters(config);
  tests::randomise(parameters, 21);
  const TemporaryFolder folder;
  save(folder.file("model.safetensors"), config, parameters);
  std::vector<TrainingBatch> batches;
  std::vector<at::Tensor> x_start, t, y, noise;
  for (uint64_t step = 0; step < 10; ++step) {
    batches.push_back(tests::random_batch(config, 4, 100 + 2 * step));
    TrainingBatch& batch = batches.back();
    if (GetParam() == networks::Objective::kRectifiedFlow) batch.t = batch.t / 1000.0;
    x_start.push_back(batch.x_start);
    t.push_back(batch.t);
    y.push_back(batch.y);
    noise.push_back(batch.noise);
  }
  const at::Tensor stacked[] = {at::stack(x_start), at::stack(t), at::stack(y), at::stack(noise)};
  formats::write_npz(folder.file("io.npz"),
                     {{"x_start", view_of(stacked[0])},
                      {"t", view_of(stacked[1])},
                      {"y", view_of(stacked[2])},
                      {"noise", view_of(stacked[3])}});
  const std::string command =
      fmt::format("/usr/bin/python3 -B {}/ten_steps.py --model {} --in {} --out {} --lr 1e-3",
                  DITMOE_ORACLE,
                  folder.file("model.safetensors"),
                  folder.file("io.npz"),
                  folder.file("losses.npz"));
  const int status = std::system(command.c_str());
  if (WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127)) {
    GTEST_SKIP() << "python3-torch is not installed";
  }
  ASSERT_EQ(status, 0);
  const at::Tensor expected = Arrays(folder.file("losses.npz"))["losses"];
  const std::vector<double> losses = ten_losses(config, parameters, batches);
  for (int64_t step = 0; step < 10; ++step) {
    const auto oracle = expected[step].item<double>();
    EXPECT_NEAR(losses[static_cast<size_t>(step)], oracle, 1e-3 * std::abs(oracle)) << step;
  }
  EXPECT_NE(losses.front(), losses.back());
}

INSTANTIATE_TEST_SUITE_P(Objectives,
                         TenStepsTest,
                         ::testing::Values(networks::Objective::kDdpm,
                                           networks::Objective::kRectifiedFlow));

}  // namespace
}  // namespace ditmoe::training
