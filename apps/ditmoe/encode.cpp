#include "ditmoe/pipeline/encode.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>

#include "ditmoe/base/error.h"
#include "ditmoe/base/progress.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/pipeline/vae_encoder.h"

#include "apps/ditmoe/command.h"

namespace ditmoe::apps {
namespace {

struct Options {
  std::string images;
  std::string output;
  std::string vae;
  int64_t size = 256;
  bool sample = false;
  bool moments = false;
  bool flip = false;
  std::string stored = "f16";
  uint64_t seed = 0;
  int64_t batch = 8;
  double max_corrupt = 0.001;
  std::string dtype = "f32";
  CommonOptions common;
};

base::DType stored_type(const std::string& word) {
  if (word == "f16") return base::DType::kF16;
  if (word == "f32") return base::DType::kF32;
  base::bad_input("--store: expected f16 or f32, found '{}'", word);
}

kernels::Precision computed_type(const std::string& word) {
  const kernels::Precision precision = kernels::precision_from(word, "--dtype");
  if (precision == kernels::Precision::kInt8) {
    base::bad_input("--dtype: an autoencoder computes in f32 or bf16, not in int8");
  }
  return precision;
}

void check(const Options& options) {
  if (options.sample && options.moments) {
    base::bad_input("encode: --sample and --moments exclude each other");
  }
  if (options.seed != 0 && !options.sample) base::bad_input("encode: --seed is for --sample");
  if (!(options.max_corrupt >= 0 && options.max_corrupt <= 1)) {
    base::bad_input("--max-corrupt: expected a number from 0 to 1, found {}", options.max_corrupt);
  }
}

data::LatentSettings settings_of(const Options& options, const pipeline::VaeEncoder& encoder) {
  data::LatentSettings settings;
  settings.image_size = options.size;
  settings.moments = !options.sample;
  settings.flip = options.flip;
  settings.dtype = stored_type(options.stored);
  settings.seed = options.seed;
  encoder.describe(settings);
  return settings;
}

void report(const Options& options, const pipeline::EncodeResult& result, double seconds) {
  const double rate = seconds > 0 ? static_cast<double>(result.encoded) / seconds : 0;
  if (options.common.json) {
    print_json({{"output", options.output},
                {"images", result.images},
                {"corrupt", result.corrupt},
                {"encoded", result.encoded},
                {"shards", result.shards},
                {"seconds", seconds},
                {"images_per_second", rate}});
    return;
  }
  fmt::print("{}: latents of {} in {}, {} left out",
             options.output,
             counted(result.images, "image"),
             counted(result.shards, "shard"),
             counted(result.corrupt, "corrupt image"));
  if (result.read == 0) {
    fmt::print("; nothing was left to do\n");
  } else {
    fmt::print("; {} in {:.1f} s, {:.3g} images/s\n", result.encoded, seconds, rate);
  }
}

void run(const Options& options) {
  options.common.start_logging();
  check(options);
  pipeline::expect_outside(options.images, options.output);
  const auto folder = data::ImageFolder::open(options.images);
  base::ThreadPool pool(options.common.threads);
  pipeline::VaeEncoder encoder(options.vae, {.precision = computed_type(options.dtype)}, pool);
  const data::LatentSettings settings = settings_of(options, encoder);

  const auto start = std::chrono::steady_clock::now();
  std::optional<base::Progress> progress;
  const pipeline::EncodeResult result = pipeline::encode_folder(
      folder,
      encoder,
      settings,
      {.batch = options.batch, .decoders = pool.size(), .max_corrupt = options.max_corrupt},
      options.output,
      [&](int64_t done, int64_t corrupt) {
        if (!progress) progress.emplace("encoding", folder.size(), "images", done);
        progress->update(done, corrupt > 0 ? fmt::format("{} corrupt", corrupt) : "");
      });
  progress.reset();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  report(options, result, elapsed.count());
}

void add_what_to_store(CLI::App& app, Options& options) {
  app.add_option("--size", options.size, "Side of the images in pixels (default: 256)")
      ->option_text("N")
      ->check(whole_number(8, 1 << 13));
  app.add_flag("--moments",
               options.moments,
               "Keep mean and log-variance of each latent, to sample from anew\n"
               "whenever it is used (default)");
  app.add_flag("--sample", options.sample, "Keep one sample of each latent: half the size");
  app.add_option("--seed", options.seed, "Of the samples (default: 0)")
      ->option_text("N")
      ->check(whole_number(0, std::numeric_limits<uint64_t>::max()));
  app.add_flag("--flip", options.flip, "Encode the mirror image of each image too");
  app.add_option("--store", options.stored, "Type of the latents in the files (default: f16)")
      ->option_text("f16|f32");
}

}  // namespace

void add_encode(CLI::App& app, Commands& commands) {
  CLI::App* encode = app.add_subcommand(
      "encode", "Turn a folder of images into a cache of an autoencoder's latents");
  const auto options = std::make_shared<Options>();
  encode
      ->add_option("DATA",
                   options->images,
                   "A folder of PNG and JPEG files, or of such folders, one for each\n"
                   "class")
      ->option_text("(required)")
      ->required();
  encode
      ->add_option("OUT",
                   options->output,
                   "The folder of the cache, outside of DATA: a new one, or one that\n"
                   "was begun with the same settings and images, which is gone on\n"
                   "with. Of images, names and sizes in bytes are compared, not the\n"
                   "contents; damaged shards are encoded again")
      ->option_text("(required)")
      ->required();
  encode->add_option("--vae", options->vae, "The autoencoder: a file or a diffusers folder")
      ->option_text("FILE (required)")
      ->required();
  add_what_to_store(*encode, *options);
  encode->add_option("--batch", options->batch, "Images decoded together (default: 8)")
      ->option_text("N")
      ->check(whole_number(1, 1024));
  encode
      ->add_option("--max-corrupt",
                   options->max_corrupt,
                   "Part of the images that may be unreadable and are left out; more\n"
                   "end the run with exit code 1 (default: 0.001)")
      ->option_text("RATE");
  encode->add_option("--dtype", options->dtype, "Type to compute in (default: f32)")
      ->option_text("f32|bf16");
  add_threads(*encode, options->common);
  add_json(*encode, options->common);
  add_logging(*encode, options->common);
  encode->footer(
      "Example:\n"
      "  ditmoe encode imagenet/train latents --vae vae.safetensors --size 256 --flip");
  commands.push_back({encode, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
