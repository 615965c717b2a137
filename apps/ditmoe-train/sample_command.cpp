#include <charconv>
#include <memory>
#include <string>

#include <torch/torch.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/base/quoted.h"
#include "ditmoe/training/dit_module.h"
#include "ditmoe/training/parameters.h"
#include "ditmoe/training/torch_denoiser.h"

#include "apps/ditmoe-train/commands.h"
#include "apps/sampling/sample.h"

namespace ditmoe::apps {
namespace {

using kernels::Precision;

// "cpu", "cuda:N", or "cuda" for the first. Throws bad_input for other words, and for a device that
// is not there.
at::Device device_from(const std::string& word) {
  const std::string kind = word.substr(0, word.find(':'));
  int index = 0;
  if (word != kind) {
    const char* end = word.data() + word.size();
    const auto [rest, error] = std::from_chars(word.data() + kind.size() + 1, end, index);
    if (error != std::errc() || rest != end) index = -1;
  }
  if (word == "cpu") return at::kCPU;
  if (kind != "cuda" || index < 0) {
    base::bad_input("--device: expected cpu or cuda:N, found {}", base::quoted(word));
  }
  if (!at::globalContext().hasCUDART()) base::bad_input("--device: this libtorch has no CUDA");
  const auto devices = static_cast<int64_t>(torch::cuda::device_count());
  if (index >= devices) {
    base::bad_input("--device: expected one of {}, found {}",
                    counted(devices, "CUDA device"),
                    base::quoted(word));
  }
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

// A file's network as torch's modules on a device.
class TorchNetwork {
 public:
  TorchNetwork(const networks::ModelFile& model, Precision precision, at::Device device)
      : parameters_(read(model, precision, device)),
        module_(model.config(), parameters_, {kernels_on(device), precision}),
        denoiser_(module_, device) {}

  diffusion::Denoiser& denoiser() { return denoiser_; }

 private:
  static autograd::Kernels kernels_on(at::Device device) {
    return device.is_cpu() ? autograd::Kernels::kNative : autograd::Kernels::kAten;
  }

  static training::ParameterSet read(const networks::ModelFile& model,
                                     Precision precision,
                                     at::Device device) {
    training::ParameterSet parameters(model.config(), device);
    training::load_weights(parameters, model);
    model.file()->expect_whole();
    if (precision == Precision::kBf16 && device.is_cpu()) parameters.keep_half();
    return parameters;
  }

  training::ParameterSet parameters_;
  training::DitModule module_;
  training::TorchDenoiser denoiser_;
};

base::Tensor draw(pipeline::ModelSession& session,
                  at::Device device,
                  const pipeline::GenerateRequest& request,
                  const pipeline::GenerateProgress& progress) {
  const networks::ModelFile& model = session.model();
  if (!model.packed() && session.precision() == Precision::kInt8) {
    base::bad_input("--backend torch: computes in f32 or bf16, not in int8; give --dtype");
  }
  TorchNetwork network(model, session.precision(), device);
  base::Tensor images = pipeline::generate(network.denoiser(), request, progress);
  if (const int64_t broken = pipeline::count_not_finite(images); broken > 0) {
    base::log_warning(
        "{}: {} of {} images hold values that are not finite", model.path(), broken, images.dim(0));
  }
  return images;
}

void run_sample(const SampleOptions& options) {
  if (!options.wants_torch()) {
    base::bad_input("--backend native: is what ditmoe computes itself, not ditmoe-train");
  }
  if (options.compute.memory) {
    base::bad_input("--memory: experts are read from disk by --backend native only");
  }
  const at::Device device = device_from(options.device);
  set_torch_threads(options.common.threads);
  // Some operations have no deterministic form on GPUs and would refuse to run.
  if (!device.is_cpu()) at::globalContext().setDeterministicAlgorithms(false, /*warn_only=*/false);
  sample(options, [device](auto& session, const auto& request, const auto& progress) {
    return draw(session, device, request, progress);
  });
}

}  // namespace

void add_sample(CLI::App& app, Commands& commands) {
  const auto options = std::make_shared<SampleOptions>();
  options->backend = "torch";
  CLI::App* parser = add_sample_command(app, *options);
  commands.push_back({parser, [options] { run_sample(*options); }});
}

}  // namespace ditmoe::apps
