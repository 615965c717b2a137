#include <memory>
#include <utility>
#include <vector>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/roof.h"
#include "ditmoe/networks/vae.h"

#include "apps/command_line/measurement.h"
#include "apps/ditmoe/bench.h"

namespace ditmoe::apps {
namespace {

// The name that stands for Stable Diffusion's autoencoder with random weights.
constexpr const char* kStableDiffusion = "sd";

struct Options {
  std::string network = kStableDiffusion;
  int64_t size = 256;
  bool encode = false;
  BenchOptions bench;
};

// Where --repetitions is not given.
constexpr double kSeconds = 10.0;
constexpr size_t kLeastRepetitions = 5;

// One image to encode, or its latents to decode.
class Image {
 public:
  Image(const networks::VaeConfig& config, int64_t size, bool encode)
      : config_(config), size_(size), encode_(encode) {
    const int64_t latents = config.latent_channels * side() * side();
    image_.resize(static_cast<size_t>(config.image_channels * size * size));
    mean_.resize(static_cast<size_t>(latents));
    logvar_.resize(static_cast<size_t>(latents));
    base::fill_normal(encode ? image_ : mean_, {.seed = 1});
  }

  void run(networks::Vae& vae) {
    if (encode_) {
      vae.encode(image_, size_, size_, mean_, logvar_);
    } else {
      vae.decode(mean_, side(), side(), image_);
    }
  }

  double operations() const {
    const int64_t macs = encode_ ? networks::encode_macs(config_, side(), side())
                                 : networks::decode_macs(config_, side(), side());
    return 2.0 * static_cast<double>(macs);
  }

 private:
  int64_t side() const { return size_ / config_.factor(); }

  networks::VaeConfig config_;
  int64_t size_;
  bool encode_;
  std::vector<float> image_, mean_, logvar_;
};

std::shared_ptr<const networks::VaeWeights> weights_of(const std::string& network) {
  if (network == kStableDiffusion) return networks::random_vae(networks::VaeConfig{}, 0);
  return networks::open_vae(network);
}

void report(const Options& options,
            const networks::Vae& vae,
            const Image& image,
            const Timings& timings,
            double roof,
            base::Json json) {
  const double rate = image.operations() / timings.median() * 1e-9;
  const std::string_view dtype = kernels::to_word(vae.computed());
  const char* what = options.encode ? "encode" : "decode";
  json["network"] = options.network;
  json["what"] = what;
  json["dtype"] = dtype;
  json["size"] = options.size;
  json["gigaoperations"] = image.operations() * 1e-9;
  json.update(timings.json());
  json["gflops"] = rate;
  json["roof_gflops"] = roof;
  json["fraction_of_roof"] = rate / roof;
  fmt::print("{} {} {} {}x{}: {:.0f} ms, {:.0f} GFLOP/s, {:.1f} % of the roof of {:.0f}\n",
             options.network,
             what,
             dtype,
             options.size,
             options.size,
             1e3 * timings.median(),
             rate,
             100 * rate / roof,
             roof);
  if (options.bench.common.json) print_json(json);
}

void run(const Options& options) {
  const CommonOptions& common = options.bench.common;
  common.start_logging();
  base::ThreadPool pool(common.threads);
  const auto precision = options.bench.compute.precision().value_or(kernels::Precision::kF32);
  networks::Vae vae(weights_of(options.network), {.precision = precision}, pool);
  const int64_t factor = vae.config().factor();
  if (options.size % factor != 0) {
    base::bad_input("--size: expected a multiple of {}, found {}", factor, options.size);
  }
  Image image(vae.config(), options.size, options.encode);
  kernels::Roof roof(vae.computed(), pool);
  image.run(vae);

  const ForeignLoad load;
  Timings timings;
  const auto enough = [&] {
    if (options.bench.repetitions > 0) {
      return timings.count() >= static_cast<size_t>(options.bench.repetitions);
    }
    return timings.count() >= kLeastRepetitions && timings.total() > kSeconds;
  };
  while (!enough()) {
    roof.measure();
    timings.measure([&] { image.run(vae); });
  }
  base::Json json = machine_json(pool.size());
  json["foreign_load"] = load.cpus();
  report(options, vae, image, timings, roof.best(), std::move(json));
}

}  // namespace

void add_bench_vae(CLI::App& bench, Commands& commands) {
  CLI::App* vae = bench.add_subcommand("vae", "One image decoded, or encoded, by an autoencoder");
  const auto options = std::make_shared<Options>();
  vae->add_option("NETWORK",
                  options->network,
                  "An autoencoder's file or folder, or `sd`: that of Stable Diffusion\n"
                  "with random weights (default: sd)");
  vae->add_option("--size", options->size, "Height and width of the image (default: 256)")
      ->option_text("N")
      ->check(whole_number(8, 4096));
  vae->add_flag("--encode", options->encode, "Encode instead of decoding");
  add_bench_options(*vae, options->bench, "for some seconds", "f32");
  vae->footer(
      "Every repetition measures the roof as well; the rate is told as a fraction of the best.\n"
      "It counts the operations of the network as it is defined: convolving an enlarged map takes\n"
      "4/9 of that.\n"
      "Example:\n"
      "  ditmoe bench vae sd --size 256 --dtype bf16");
  commands.push_back({vae, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
