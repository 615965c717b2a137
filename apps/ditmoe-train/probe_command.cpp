#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/folder.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/formats/tensor_file.h"
#include "ditmoe/networks/model_file.h"
#include "ditmoe/training/adamw.h"
#include "ditmoe/training/objective.h"

#include "apps/command_line/options.h"
#include "apps/ditmoe-train/commands.h"

namespace ditmoe::apps {
namespace {

struct ProbeArguments {
  ProbeFiles files;
  std::string objective = "ddpm";
  double balance = 0.01;
  bool step = false;
  std::string kernels = "native";
  OverrideOptions overrides;
  CommonOptions common;
};

// The probe's update: the paper's optimiser, as the reference arrays were made.
constexpr double kLearningRate = 1e-4;
constexpr double kEmaDecay = 0.9999;

class ProbeInput {
 public:
  explicit ProbeInput(const std::string& path) : path_(path), arrays_(formats::read_npz(path)) {}

  at::Tensor get(const std::string& name, at::ScalarType type) const {
    const base::Tensor values =
        base::convert(formats::array(arrays_, name, path_).view(), base::DType::kF32);
    at::Tensor tensor = at::empty(values.shape(), at::kFloat);
    std::memcpy(tensor.data_ptr<float>(), values.view().data, values.bytes());
    return tensor.to(type);
  }

 private:
  std::string path_;
  std::map<std::string, base::Tensor> arrays_;
};

// Arrays to write, kept alive until they are.
class ProbeOutput {
 public:
  void add(const std::string& name, const at::Tensor& tensor) {
    kept_.push_back(tensor.detach().to(at::kFloat).contiguous());
    const at::Tensor& last = kept_.back();
    arrays_.emplace_back(
        name,
        base::TensorView{base::DType::kF32,
                         last.sizes().vec(),
                         reinterpret_cast<const std::byte*>(last.data_ptr<float>())});
  }

  // Every tensor of a flat buffer as prefix/<name in the file>; copies, since the buffer moves on.
  void add_named(const std::string& prefix,
                 const at::Tensor& flat,
                 const training::ParameterSet& parameters,
                 const networks::ModelFile& model,
                 bool with_pos_embed) {
    kept_.push_back(flat.clone());
    for (auto& [name, view] : parameters.named(kept_.back(), with_pos_embed)) {
      arrays_.emplace_back(prefix + "/" + model.name_in_file(name), view);
    }
  }

  void write(const std::string& path) const { formats::write_npz(path, arrays_); }

 private:
  std::vector<at::Tensor> kept_;
  std::vector<std::pair<std::string, base::TensorView>> arrays_;
};

void check_batch(const training::TrainingBatch& batch,
                 const networks::DitConfig& config,
                 const std::string& path) {
  if (batch.x_start.dim() != 4) {
    base::bad_input("{}: array x_start: expected [N, C, H, W], found {}",
                    path,
                    base::to_string(batch.x_start.sizes().vec()));
  }
  const base::Shape expected = {
      batch.x_start.size(0), config.channels, config.image_size, config.image_size};
  for (const auto& [name, tensor] :
       {std::pair("x_start", batch.x_start), std::pair("noise", batch.noise)}) {
    if (tensor.sizes().vec() != expected) {
      base::bad_input("{}: array {}: expected {}, found {}",
                      path,
                      name,
                      base::to_string(expected),
                      base::to_string(tensor.sizes().vec()));
    }
  }
  for (const auto& [name, tensor] : {std::pair("t", batch.t), std::pair("y", batch.y)}) {
    if (tensor.dim() != 1 || tensor.size(0) != expected[0]) {
      base::bad_input("{}: array {}: expected [{}], found {}",
                      path,
                      name,
                      expected[0],
                      base::to_string(tensor.sizes().vec()));
    }
  }
  if (batch.y.numel() > 0 &&
      (batch.y.min().item<int64_t>() < 0 || batch.y.max().item<int64_t>() > config.num_classes)) {
    base::bad_input("{}: array y: expected labels 0 to {}", path, config.num_classes);
  }
  const bool steps = config.objective == networks::Objective::kDdpm;
  const double last = steps ? 999.0 : 1.0;
  const at::Tensor good = (batch.t >= 0.0) & (batch.t <= last) &
                          (steps ? batch.t == batch.t.floor() : batch.t == batch.t);
  if (!good.all().item<bool>()) {
    base::bad_input("{}: array t: expected {}", path, steps ? "whole steps 0 to 999" : "0 to 1");
  }
}

autograd::Kernels kernels_from(const std::string& word) {
  if (word != "native" && word != "aten") {
    base::bad_input("--kernels: expected native or aten, found '{}'", word);
  }
  return word == "aten" ? autograd::Kernels::kAten : autograd::Kernels::kNative;
}

void probe_loss(const ProbeArguments& arguments) {
  arguments.common.start_logging();
  set_torch_threads(arguments.common.threads);
  formats::expect_writable(arguments.files.output);
  const networks::Objective objective =
      networks::objective_from(arguments.objective, "--objective");
  const autograd::Kernels kernels = kernels_from(arguments.kernels);
  // The objective only says which loss to compute, whatever the file was trained for; it is told
  // to open because files without metadata do not always tell one.
  networks::ModelOverrides overrides = arguments.overrides.over();
  overrides.objective = objective;
  const auto model = networks::ModelFile::open(arguments.files.model, overrides);
  std::vector<std::string> inputs = formats::files_of(*model.file());
  inputs.push_back(arguments.files.input);
  formats::expect_none_of(arguments.files.output, inputs);
  networks::DitConfig config = model.config();
  config.balance_factor = arguments.balance;
  config.balance_pool = networks::BalancePool::kBatch;
  const ProbeInput input(arguments.files.input);
  const training::TrainingBatch batch = {input.get("x_start", at::kFloat),
                                         input.get("y", at::kLong),
                                         input.get("t", at::kFloat),
                                         input.get("noise", at::kFloat)};
  check_batch(batch, config, arguments.files.input);

  training::ParameterSet parameters(config);
  training::load_weights(parameters, model);
  const training::DitModule module(config, parameters, {kernels});
  const training::Losses losses = training::make_objective(config.objective)->losses(module, batch);
  losses.total().backward();

  const torch::NoGradGuard no_grad;
  ProbeOutput output;
  if (config.objective == networks::Objective::kDdpm) {
    output.add("mse", losses.mse_B);
    if (losses.vb_B.defined()) output.add("vb", losses.vb_B);
    output.add("loss", losses.per_image_B);
  } else {
    output.add("loss_per_image", losses.per_image_B);
  }
  if (!losses.network.balance_losses.empty()) {
    output.add("aux_per_layer", at::stack(losses.network.balance_losses));
  }
  if (losses.network.prior_loss.defined()) output.add("prior_loss", losses.network.prior_loss);
  output.add_named("grad", parameters.gradients(), parameters, model, false);
  if (arguments.step) {
    training::AdamwState state = training::make_adamw_state(parameters.values());
    at::Tensor ema = parameters.values().clone();
    training::adamw_step(
        {}, kLearningRate, 1.0, kEmaDecay, parameters.gradients(), state, parameters.values(), ema);
    output.add_named("after", parameters.values(), parameters, model, true);
    output.add_named("ema", ema, parameters, model, true);
  }
  output.write(arguments.files.output);
}

}  // namespace

void add_probe(CLI::App& app, Commands& commands) {
  auto arguments = std::make_shared<ProbeArguments>();
  CLI::App* probe = app.add_subcommand("probe", "Run one computation on given arrays");
  probe->require_subcommand(1);
  CLI::App* loss = probe->add_subcommand("loss", "Losses, gradients and one update of a model");
  add_probe_files(*loss,
                  arguments->files,
                  "x_start [N,C,H,W], t [N], y [N], noise [N,C,H,W]",
                  "mse, vb, loss (ddpm) or loss_per_image (rf), aux_per_layer,\n"
                  "prior_loss of a Switch-DiT, grad/NAME of every weight");
  loss->add_option("--objective", arguments->objective, "What the model predicts (default: ddpm)")
      ->option_text("ddpm|rf");
  loss->add_option("--balance",
                   arguments->balance,
                   "Factor of the balance loss, pooled over the batch (default: 0.01)")
      ->option_text("A");
  loss->add_flag(
      "--step", arguments->step, "Also one AdamW step and EMA update: after/NAME, ema/NAME");
  loss->add_option("--kernels", arguments->kernels, "Products by ours or ATen's (default: native)")
      ->option_text("native|aten");
  add_threads(*loss, arguments->common);
  add_logging(*loss, arguments->common);
  add_overrides(*loss, arguments->overrides, /*with_objective=*/false);
  loss->footer(
      "Example:\n"
      "  ditmoe probe loss model.safetensors --in train_ddpm.npz --out g.npz --heads 4");
  commands.push_back({loss, [arguments] { probe_loss(*arguments); }});
}

}  // namespace ditmoe::apps
