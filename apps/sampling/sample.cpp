#include "apps/sampling/sample.h"

#include <chrono>
#include <limits>
#include <set>

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/base/progress.h"
#include "ditmoe/base/quoted.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/pipeline/grid.h"
#include "ditmoe/pipeline/labels.h"
#include "ditmoe/pipeline/latent_decoder.h"
#include "ditmoe/pipeline/settings.h"

#include "apps/sampling/sample_output.h"

namespace ditmoe::apps {
namespace {

// The last part of a path, which may end in a slash.
std::string folder_or_file_name(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return file_name(path);
}

// Labels as asked for, cycled to the count asked for; else those of the picture to repeat; else
// all.
std::vector<int32_t> resolve_labels(const SampleOptions& options,
                                    const pipeline::ModelSession& session,
                                    std::vector<int32_t> repeated) {
  std::vector<int32_t> labels = std::move(repeated);
  if (options.labels || labels.empty()) {
    labels = session.parse_labels(options.labels.value_or("all"));
  }
  return pipeline::cycle_labels(labels,
                                options.count.value_or(static_cast<int64_t>(labels.size())));
}

pipeline::PictureSettings resolve(const SampleOptions& options,
                                  const pipeline::PictureSettings& repeated,
                                  const pipeline::ModelSession& session,
                                  int64_t image_size) {
  pipeline::PictureSettings settings = repeated;
  if (options.from_png.empty()) settings.request = pipeline::default_request(session.model());
  settings.model = file_name(options.model);
  settings.vae = folder_or_file_name(options.vae);
  settings.precision = session.precision();
  settings.overrides = options.overrides.over(repeated.overrides);
  pipeline::GenerateRequest& request = settings.request;
  options.sampling.apply(session.model(), request);
  request.labels = resolve_labels(options, session, repeated.request.labels);
  request.batch = options.batch;
  if (options.seed) request.seed = *options.seed;
  if (options.columns) settings.columns = *options.columns;
  if (options.scale) settings.scale = *options.scale;
  if (settings.scale <= 0) {
    settings.scale = pipeline::comfortable_scale(image_size);
  }
  return settings;
}

base::Tensor draw_with_progress(const Draw& draw,
                                pipeline::ModelSession& session,
                                const pipeline::GenerateRequest& request) {
  std::optional<base::Progress> progress;
  return draw(session, request, [&progress](int64_t done, int64_t total) {
    if (!progress) progress.emplace("sampling", total, "steps");
    progress->update(done);
  });
}

base::Tensor decode_with_progress(pipeline::LatentDecoder& decoder, const base::Tensor& latents) {
  base::Progress progress("decoding", latents.dim(0), "images");
  return decoder.decode(latents, [&progress](int64_t done) { progress.update(done); });
}

// A picture that an autoencoder decoded is repeated with one.
void check_repeated(const SampleOptions& options, const pipeline::PictureSettings& repeated) {
  if (options.from_png.empty()) return;
  const auto warn = [&](const char* did, const std::string& then, const std::string& now) {
    if (then == now) return;
    base::log_warning(
        "{} was {} by {}, not by {}", options.from_png, did, base::escaped(then), now);
  };
  warn("drawn", repeated.model, file_name(options.model));
  if (repeated.vae.empty()) return;
  if (options.vae.empty()) {
    base::bad_input("{}: its images were decoded by {}; give --vae",
                    options.from_png,
                    base::escaped(repeated.vae));
  }
  warn("decoded", repeated.vae, folder_or_file_name(options.vae));
}

void report(const SampleOptions& options,
            const pipeline::PictureSettings& settings,
            const networks::ModelFile& model,
            double seconds) {
  const pipeline::GenerateRequest& request = settings.request;
  if (options.common.json) {
    base::Json json = pipeline::to_json(settings);
    json["model"] = model.path();
    json["output"] = options.output;
    json["backend"] = options.backend;
    json["device"] = options.device;
    json["seconds"] = seconds;
    print_json(json);
    return;
  }
  const std::set<int32_t> distinct(request.labels.begin(), request.labels.end());
  fmt::print("{}: {} of {}, {} with {}, guidance {}, seed {}, {:.1f} s\n",
             base::escaped(options.output),
             counted(static_cast<int64_t>(request.labels.size()), "image"),
             counted(static_cast<int64_t>(distinct.size()), "label"),
             request.sampler,
             counted(request.steps, "step"),
             request.guidance.scale,
             request.seed,
             seconds);
}

void add_what_to_draw(CLI::App& app, SampleOptions& options) {
  app.add_option("MODEL", options.model, kModelText)->option_text("(required)")->required();
  app.add_option("-o,--output",
                 options.output,
                 "NAME.png: one picture, a row per label; NAME/: a folder of\n"
                 "pictures, new or empty; NAME.npz: arrays arr_0 (uint8 NHWC) and\n"
                 "arr_1 (labels), or latents (f32 NCHW) and labels of a model that\n"
                 "draws no pictures (default: samples.png)")
      ->option_text("NAME");
  app.add_option("--labels",
                 options.labels,
                 "Class numbers, ranges and names, `all`, or `none` for no label:\n"
                 "0,3-5,sandal (default: all)")
      ->option_text("LIST");
  app.add_option("--count",
                 options.count,
                 "Images in all; labels are taken in turn (default: one per label)")
      ->option_text("N")
      ->check(whole_number(1, 10'000'000));
  app.add_option("--seed",
                 options.seed,
                 "Images depend on this, their number and the settings (default: 0)")
      ->option_text("N")
      ->check(whole_number(0, std::numeric_limits<uint64_t>::max()));
  app.add_option("--from-png",
                 options.from_png,
                 "Repeat the settings stored in a picture; options given win")
      ->option_text("FILE");
  app.add_option("--vae",
                 options.vae,
                 "Decode the model's latents by this autoencoder: a file, or a folder as\n"
                 "diffusers has it")
      ->option_text("FILE");
  app.add_option("--columns", options.columns, "Images per row of a picture (default: by label)")
      ->option_text("N")
      ->check(whole_number(1, pipeline::kMostColumns));
  app.add_option("--scale",
                 options.scale,
                 "Enlarge each pixel of a picture N times (default: enough to see)")
      ->option_text("N")
      ->check(whole_number(1, pipeline::kMostScale));
}

void add_how_to_compute(CLI::App& app, SampleOptions& options) {
  app.add_option("--batch",
                 options.batch,
                 "Images at a time; changes memory and speed, not images\n"
                 "(default: up to 32)")
      ->option_text("N")
      ->check(whole_number(1, 4096));
  add_precision(app, options.compute);
  add_memory(app, options.compute);
  app.add_option("--backend",
                 options.backend,
                 "What computes the network: this program, or libtorch in ditmoe-train,\n"
                 "in f32 or bf16, whose images differ by rounding (default: native)")
      ->option_text("native|torch");
  app.add_option("--device",
                 options.device,
                 "Where torch computes it (default: cpu); no run on a GPU has been\n"
                 "tested")
      ->option_text("cpu|cuda:N");
  add_threads(app, options.common);
}

}  // namespace

bool SampleOptions::wants_torch() const {
  if (backend == "torch") return true;
  if (backend != "native") {
    base::bad_input("--backend: expected native or torch, found {}", base::quoted(backend));
  }
  if (device != "cpu") {
    base::bad_input("--device: expected cpu without --backend torch, found {}",
                    base::quoted(device));
  }
  return false;
}

CLI::App* add_sample_command(CLI::App& app, SampleOptions& options) {
  CLI::App* sample = app.add_subcommand("sample", "Draw images from a model");
  add_what_to_draw(*sample, options);
  add_sampling(*sample, options.sampling);
  add_how_to_compute(*sample, options);
  add_json(*sample, options.common);
  add_logging(*sample, options.common);
  add_overrides(*sample, options.overrides);
  sample->footer(
      "Examples:\n"
      "  ditmoe sample models/fashion-moe.safetensors --count 80 -o grid.png\n"
      "  ditmoe sample models/fashion-moe.safetensors --labels sandal,bag --cfg 3 --seed 7 -o "
      "out/\n"
      "  ditmoe sample models/fashion-moe.safetensors --from-png grid.png -o again.png");
  return sample;
}

void sample(const SampleOptions& options, const Draw& draw) {
  options.common.start_logging();
  pipeline::PictureSettings repeated;
  if (!options.from_png.empty()) repeated = pipeline::read_picture_settings(options.from_png);
  base::ThreadPool pool(options.common.threads);
  pipeline::ModelSession session(options.model,
                                 options.overrides.over(repeated.overrides),
                                 options.compute.session(repeated.precision),
                                 pool);
  check_repeated(options, repeated);
  std::optional<pipeline::LatentDecoder> decoder;
  if (!options.vae.empty()) {
    decoder.emplace(
        options.vae, session.model().config(), session.model().path(), session.precision(), pool);
  }
  const networks::DitConfig& config = session.model().config();
  const SampleOutput::ImageShape image = {decoder ? decoder->image_channels() : config.channels,
                                          decoder ? decoder->image_size() : config.image_size};
  const pipeline::PictureSettings settings = resolve(options, repeated, session, image.size);
  pipeline::check_request(settings.request, session.model());
  const SampleOutput output(options.output, session.model(), image);
  output.check_size(settings);

  const auto start = std::chrono::steady_clock::now();
  base::Tensor images = draw_with_progress(draw, session, settings.request);
  if (decoder) images = decode_with_progress(*decoder, images);
  output.write(images, settings);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  report(options, settings, session.model(), elapsed.count());
}

}  // namespace ditmoe::apps
