#include "apps/ditmoe/probe.h"

#include <algorithm>
#include <map>
#include <memory>

#include "ditmoe/base/error.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/diffusion/sampler.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/folder.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/pipeline/model_session.h"
#include "ditmoe/pipeline/settings.h"

#include "apps/ditmoe/command.h"

namespace ditmoe::apps {
namespace {

using Arrays = std::map<std::string, base::Tensor>;

struct Options {
  ProbeFiles files;
  SamplingOptions sampling;
  OverrideOptions overrides;
  ComputeOptions compute;
  CommonOptions common;
};

// The images of the named array as f32, checked against what the network takes.
base::Tensor read_images(const Arrays& arrays,
                         const std::string& name,
                         const networks::DitConfig& config,
                         const std::string& path) {
  const base::Tensor& images = formats::array(arrays, name, path);
  const base::Shape& shape = images.shape();
  const int64_t size = config.image_size;
  if (shape.size() != 4 || shape[0] < 1 || shape[1] != config.channels || shape[2] != size ||
      shape[3] != size) {
    base::bad_input("{}: array '{}': expected shape [N, {}, {}, {}], found {}",
                    path,
                    name,
                    config.channels,
                    size,
                    size,
                    base::to_string(shape));
  }
  return base::convert(images.view(), base::DType::kF32);
}

// One number per image.
base::Tensor read_per_image(const Arrays& arrays,
                            const std::string& name,
                            int64_t count,
                            base::DType dtype,
                            const std::string& path) {
  const base::Tensor& values = formats::array(arrays, name, path);
  if (values.shape() != base::Shape{count}) {
    base::bad_input("{}: array '{}': expected shape [{}], found {}",
                    path,
                    name,
                    count,
                    base::to_string(values.shape()));
  }
  return base::convert(values.view(), dtype);
}

// [moe_layers, N·T, K] tensors of a trace.
std::pair<base::Tensor, base::Tensor> routing_tensors(const networks::RoutingTrace& trace) {
  const base::Shape shape = {trace.moe_layers, trace.tokens, trace.top_k};
  base::Tensor index(base::DType::kI64, shape);
  std::copy(trace.index.begin(), trace.index.end(), index.as<int64_t>().begin());
  return {std::move(index), base::Tensor::from(shape, trace.weight)};
}

void run_forward(const Options& options) {
  options.common.start_logging();
  formats::expect_writable(options.files.output);
  base::ThreadPool pool(options.common.threads);
  pipeline::ModelSession session(
      options.files.model, options.overrides.over(), options.compute.session(), pool);
  expect_new_output(options.files, *session.model().file());
  const networks::DitConfig& config = session.model().config();
  const Arrays arrays = formats::read_npz(options.files.input);
  const base::Tensor x = read_images(arrays, "x", config, options.files.input);
  const int64_t count = x.dim(0);
  const base::Tensor t = read_per_image(arrays, "t", count, base::DType::kF32, options.files.input);
  const base::Tensor y = read_per_image(arrays, "y", count, base::DType::kI32, options.files.input);
  const base::Shape out_shape = {
      count, config.output_channels(), config.image_size, config.image_size};

  base::Tensor out(base::DType::kF32, out_shape);
  networks::RoutingTrace trace;
  session.executor().predict_traced(
      x.as<float>(), t.as<float>(), y.as<int32_t>(), out.as<float>(), trace);
  const auto [index, weight] = routing_tensors(trace);
  std::vector<std::pair<std::string, base::TensorView>> results = {{"out", out.view()}};
  if (trace.moe_layers > 0) {
    results.emplace_back("route_index", index.view());
    results.emplace_back("route_weight", weight.view());
  }
  base::Tensor out_t_fraction;
  if (arrays.contains("t_fraction")) {
    const base::Tensor fraction =
        read_per_image(arrays, "t_fraction", count, base::DType::kF32, options.files.input);
    out_t_fraction = base::Tensor(base::DType::kF32, out_shape);
    session.executor().predict(
        x.as<float>(), fraction.as<float>(), y.as<int32_t>(), out_t_fraction.as<float>());
    results.emplace_back("out_t_fraction", out_t_fraction.view());
  }
  session.model().file()->expect_whole();
  formats::write_npz(options.files.output, results);
}

// The noise of array 'noise' [S, M, C, H, W]: image i of step k. M may be twice the number of
// images (a doubled batch for guidance): the first half is theirs.
diffusion::NoiseSource given_noise(const base::Tensor& noise, int64_t image_size) {
  const int64_t stride = noise.dim(1);
  return [&noise, stride, image_size](int64_t image, int64_t step, std::span<float> out) {
    const auto values = noise.as<float>().subspan((step * stride + image) * image_size, image_size);
    std::copy(values.begin(), values.end(), out.begin());
  };
}

base::Tensor read_noise(const Arrays& arrays,
                        const base::Shape& images,
                        int64_t steps,
                        const std::string& path) {
  const base::Tensor& noise = formats::array(arrays, "noise", path);
  const base::Shape& shape = noise.shape();
  const bool fits = shape.size() == 5 && shape[0] >= steps &&
                    (shape[1] == images[0] || shape[1] == 2 * images[0]) &&
                    std::equal(images.begin() + 1, images.end(), shape.begin() + 2);
  if (!fits) {
    base::bad_input("{}: array 'noise': expected shape [{}, {} or {}, {}, {}, {}], found {}",
                    path,
                    steps,
                    images[0],
                    2 * images[0],
                    images[1],
                    images[2],
                    images[3],
                    base::to_string(shape));
  }
  return base::convert(noise.view(), base::DType::kF32);
}

void run_sample(const Options& options) {
  options.common.start_logging();
  formats::expect_writable(options.files.output);
  base::ThreadPool pool(options.common.threads);
  pipeline::ModelSession session(
      options.files.model, options.overrides.over(), options.compute.session(), pool);
  expect_new_output(options.files, *session.model().file());
  pipeline::GenerateRequest request = pipeline::default_request(session.model());
  options.sampling.apply(session.model(), request);
  const auto sampler = diffusion::make_sampler(request.sampler, request.steps);
  const Arrays arrays = formats::read_npz(options.files.input);
  base::Tensor z = read_images(arrays, "z", session.model().config(), options.files.input);
  const base::Tensor y =
      read_per_image(arrays, "y", z.dim(0), base::DType::kI32, options.files.input);
  base::Tensor noise;
  diffusion::NoiseSource source;
  if (request.sampler == "ddpm") {
    noise = read_noise(arrays, z.shape(), request.steps, options.files.input);
    source = given_noise(noise, z.size() / z.dim(0));
  }
  sampler->run(session.executor(), request.guidance, y.as<int32_t>(), source, z.as<float>());
  session.model().file()->expect_whole();
  formats::write_npz(options.files.output, {{"out", z.view()}});
}

void add_rest(CLI::App& app, Options& options) {
  add_precision(app, options.compute);
  add_memory(app, options.compute);
  add_threads(app, options.common);
  add_logging(app, options.common);
  add_overrides(app, options.overrides, /*with_objective=*/false);
}

void add_forward(CLI::App& probe, Commands& commands) {
  CLI::App* forward =
      probe.add_subcommand("forward", "One prediction, and who went to which expert");
  const auto options = std::make_shared<Options>();
  add_probe_files(*forward,
                  options->files,
                  "x [N,C,H,W], t [N], y [N], and t_fraction [N] if present",
                  "out, route_index and route_weight [layers, N*tokens, top_k],\n"
                  "out_t_fraction");
  add_rest(*forward, *options);
  forward->footer(
      "Example:\n  ditmoe probe forward model.safetensors --in forward.npz --out o.npz");
  commands.push_back({forward, [options] { run_forward(*options); }});
}

void add_probe_sample(CLI::App& probe, Commands& commands) {
  CLI::App* sample = probe.add_subcommand("sample", "A whole sampling run from given noise");
  const auto options = std::make_shared<Options>();
  add_probe_files(*sample,
                  options->files,
                  "z [N,C,H,W], y [N], and for ddpm noise [steps, N or 2N, C,H,W]",
                  "out [N,C,H,W]");
  add_sampling(*sample, options->sampling);
  add_rest(*sample, *options);
  sample->footer(
      "Example:\n"
      "  ditmoe probe sample model.safetensors --in s.npz --out o.npz --sampler ddim --steps 8 \\\n"
      "    --cfg 1.5 --cfg-channels 3");
  commands.push_back({sample, [options] { run_sample(*options); }});
}

}  // namespace

void expect_new_output(const ProbeFiles& files, const formats::TensorFile& model) {
  std::vector<std::string> inputs = formats::files_of(model);
  inputs.push_back(files.input);
  formats::expect_none_of(files.output, inputs);
}

void add_probe(CLI::App& app, Commands& commands, const Arguments& arguments) {
  CLI::App* probe = app.add_subcommand(
      "probe", "Run one computation on given arrays, to check it against another program");
  probe->require_subcommand(1);
  add_forward(*probe, commands);
  CLI::App* loss = probe->add_subcommand("loss", "Loss and gradients (runs ditmoe-train)");
  loss->set_help_flag();
  loss->prefix_command();
  commands.push_back({loss, [arguments] { run_trainer(arguments); }});
  add_probe_sample(*probe, commands);
  add_probe_vae(*probe, commands);
}

}  // namespace ditmoe::apps
