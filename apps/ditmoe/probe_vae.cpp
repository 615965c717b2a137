#include <map>
#include <memory>
#include <string>

#include "ditmoe/base/error.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/networks/vae.h"

#include "apps/ditmoe/command.h"
#include "apps/ditmoe/probe.h"

namespace ditmoe::apps {
namespace {

struct Options {
  ProbeFiles files;
  ComputeOptions compute;
  CommonOptions common;
};

// The named array [N, channels, height, width] as f32, height and width multiples of `multiple`.
base::Tensor read_maps(const std::map<std::string, base::Tensor>& arrays,
                       const std::string& name,
                       int64_t channels,
                       int64_t multiple,
                       const std::string& path) {
  const base::Tensor& maps = formats::array(arrays, name, path);
  const base::Shape& shape = maps.shape();
  if (shape.size() != 4 || shape[0] < 1 || shape[1] != channels || shape[2] < 1 || shape[3] < 1 ||
      shape[2] % multiple != 0 || shape[3] % multiple != 0) {
    base::bad_input(
        "{}: array '{}': expected shape [N, {}, H, W], H and W multiples of {}, found {}",
        path,
        name,
        channels,
        multiple,
        base::to_string(shape));
  }
  return base::convert(maps.view(), base::DType::kF32);
}

void run(const Options& options) {
  options.common.start_logging();
  formats::expect_writable(options.files.output);
  base::ThreadPool pool(options.common.threads);
  const auto precision = options.compute.precision().value_or(kernels::Precision::kF32);
  const auto weights = networks::open_vae(options.files.model);
  expect_new_output(options.files, *weights->file());
  networks::Vae vae(weights, {.precision = precision}, pool);
  const networks::VaeConfig& config = vae.config();
  const int64_t factor = config.factor();
  const auto arrays = formats::read_npz(options.files.input);
  const std::string& path = options.files.input;
  const base::Tensor image = read_maps(arrays, "image", config.image_channels, factor, path);
  const base::Tensor latent = read_maps(arrays, "latent", config.latent_channels, 1, path);

  const base::Shape posterior = {
      image.dim(0), config.latent_channels, image.dim(2) / factor, image.dim(3) / factor};
  base::Tensor mean(base::DType::kF32, posterior);
  base::Tensor logvar(base::DType::kF32, posterior);
  vae.encode(image.as<float>(), image.dim(2), image.dim(3), mean.as<float>(), logvar.as<float>());
  base::Tensor decoded(
      base::DType::kF32,
      {latent.dim(0), config.image_channels, latent.dim(2) * factor, latent.dim(3) * factor});
  vae.decode(latent.as<float>(), latent.dim(2), latent.dim(3), decoded.as<float>());
  formats::write_npz(
      options.files.output,
      {{"mean", mean.view()}, {"logvar_clamped", logvar.view()}, {"decoded", decoded.view()}});
}

}  // namespace

void add_probe_vae(CLI::App& probe, Commands& commands) {
  CLI::App* vae = probe.add_subcommand("vae", "An autoencoder's posterior and its images");
  const auto options = std::make_shared<Options>();
  add_probe_files(*vae,
                  options->files,
                  "image [N,3,H,W] in -1..1, latent [N,4,h,w] as the decoder takes it",
                  "mean, logvar_clamped [N,4,H/8,W/8], decoded [N,3,8h,8w]");
  add_precision(*vae, options->compute, "f32");
  add_threads(*vae, options->common);
  add_logging(*vae, options->common);
  vae->footer("Example:\n  ditmoe probe vae vae.safetensors --in io.npz --out o.npz");
  commands.push_back({vae, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
