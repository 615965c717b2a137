#include "ditmoe/networks/vae.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/networks/vae_layers.h"

namespace ditmoe::networks {
namespace {

using kernels::MapShape;
using kernels::Resampling;

constexpr float kLeastLogvar = -30.0f;
constexpr float kMostLogvar = 20.0f;

// Of posteriors; the samplers' streams count their steps.
constexpr uint32_t kPosteriorStream = 0x76616500;

struct Level {
  std::vector<ResBlock> blocks;
  std::vector<AttentionBlock> attention;  // behind each block, or none
  std::optional<kernels::PackedConvolution> resample;
};

struct Middle {
  ResBlock first;
  std::optional<AttentionBlock> attention;
  ResBlock second;
};

Middle pack_middle(const LayerPacker& packer, const VaeConfig& config, const std::string& name) {
  Middle middle;
  middle.first = packer.res_block(name + ".block_1", false);
  if (config.middle_attention) middle.attention = packer.attention(name + ".attn_1");
  middle.second = packer.res_block(name + ".block_2", false);
  return middle;
}

// channels: of what enters the level.
Level pack_level(const LayerPacker& packer,
                 const VaeConfig& config,
                 const std::string& name,
                 int64_t level,
                 int64_t blocks,
                 int64_t channels) {
  Level packed;
  const int64_t width = config.widths[static_cast<size_t>(level)];
  for (int64_t block = 0; block < blocks; ++block) {
    packed.blocks.push_back(
        packer.res_block(fmt::format("{}.block.{}", name, block), channels != width));
    channels = width;
    if (config.level_attention[static_cast<size_t>(level)]) {
      packed.attention.push_back(packer.attention(fmt::format("{}.attn.{}", name, block)));
    }
  }
  return packed;
}

Map run_level(const Level& level, LayerRunner& layers, Map x) {
  for (size_t i = 0; i < level.blocks.size(); ++i) {
    x = layers.run(level.blocks[i], std::move(x));
    if (!level.attention.empty()) x = layers.run(level.attention[i], std::move(x));
  }
  return level.resample ? layers.convolution(*level.resample, x) : std::move(x);
}

Map run_middle(const Middle& middle, LayerRunner& layers, Map x) {
  x = layers.run(middle.first, std::move(x));
  if (middle.attention) x = layers.run(*middle.attention, std::move(x));
  return layers.run(middle.second, std::move(x));
}

// [C, H, W] → the map, and back.
void to_map(const float* image_CHW, const Map& map) {
  const MapShape& shape = map.shape();
  for (int64_t c = 0; c < shape.channels; ++c) {
    for (int64_t pixel = 0; pixel < shape.pixels(); ++pixel) {
      map.data()[pixel * shape.channels + c] = *image_CHW++;
    }
  }
}

void from_map(const Map& map, int64_t first_channel, int64_t channels, float* image_CHW) {
  const MapShape& shape = map.shape();
  for (int64_t c = first_channel; c < first_channel + channels; ++c) {
    for (int64_t pixel = 0; pixel < shape.pixels(); ++pixel) {
      *image_CHW++ = map.data()[pixel * shape.channels + c];
    }
  }
}

class Encoder {
 public:
  Encoder(const LayerPacker& packer, const VaeConfig& config)
      : conv_in_(packer.edge_convolution("encoder.conv_in")),
        middle_(pack_middle(packer, config, "encoder.mid")),
        norm_out_(packer.norm("encoder.norm_out")),
        conv_out_(packer.edge_convolution("encoder.conv_out")) {
    int64_t channels = config.channels;
    for (int64_t i = 0; i < config.levels(); ++i) {
      const std::string name = fmt::format("encoder.down.{}", i);
      levels_.push_back(pack_level(packer, config, name, i, config.num_res_blocks, channels));
      channels = config.widths[static_cast<size_t>(i)];
      if (i + 1 < config.levels()) {
        levels_.back().resample = packer.convolution(name + ".downsample.conv", Resampling::kHalve);
      }
    }
    if (config.quant_conv) quant_conv_ = packer.edge_convolution("quant_conv");
  }

  // Mean and logarithm of the variance, channels of one map.
  Map run(const Map& image, LayerRunner& layers) const {
    Map x = layers.convolution(conv_in_, image);
    for (const Level& level : levels_) x = run_level(level, layers, std::move(x));
    x = run_middle(middle_, layers, std::move(x));
    x = layers.convolution(norm_out_, conv_out_, x);
    return quant_conv_ ? layers.convolution(*quant_conv_, x) : std::move(x);
  }

 private:
  kernels::PackedConvolution conv_in_;
  std::vector<Level> levels_;
  Middle middle_;
  GroupNormWeights norm_out_;
  kernels::PackedConvolution conv_out_;
  std::optional<kernels::PackedConvolution> quant_conv_;
};

class Decoder {
 public:
  Decoder(const LayerPacker& packer, const VaeConfig& config)
      : conv_in_(packer.edge_convolution("decoder.conv_in")),
        middle_(pack_middle(packer, config, "decoder.mid")),
        norm_out_(packer.norm("decoder.norm_out")),
        conv_out_(packer.edge_convolution("decoder.conv_out")) {
    if (config.quant_conv) post_quant_conv_ = packer.edge_convolution("post_quant_conv");
    int64_t channels = config.widths.back();
    for (int64_t i = config.levels() - 1; i >= 0; --i) {
      const std::string name = fmt::format("decoder.up.{}", i);
      levels_.push_back(pack_level(packer, config, name, i, config.num_res_blocks + 1, channels));
      channels = config.widths[static_cast<size_t>(i)];
      if (i > 0) {
        levels_.back().resample = packer.convolution(name + ".upsample.conv", Resampling::kDouble);
      }
    }
  }

  Map run(const Map& latents, LayerRunner& layers) const {
    Map x = post_quant_conv_
                ? layers.convolution(conv_in_, layers.convolution(*post_quant_conv_, latents))
                : layers.convolution(conv_in_, latents);
    x = run_middle(middle_, layers, std::move(x));
    for (const Level& level : levels_) x = run_level(level, layers, std::move(x));
    return layers.convolution(norm_out_, conv_out_, x);
  }

 private:
  std::optional<kernels::PackedConvolution> post_quant_conv_;
  kernels::PackedConvolution conv_in_;
  Middle middle_;
  std::vector<Level> levels_;  // the coarsest first
  GroupNormWeights norm_out_;
  kernels::PackedConvolution conv_out_;
};

}  // namespace

struct Vae::State {
  State(std::shared_ptr<const VaeWeights> the_weights,
        const VaeOptions& options,
        base::ThreadPool& pool)
      : weights(std::move(the_weights)),
        precision(options.precision),
        convolutions(pool, options.isa),
        attention(pool, convolutions.matmul(), convolutions.kernels()),
        layers(convolutions, attention, precision, weights->config().groups) {
    convolutions.limit_band(options.band_rows);
  }

  LayerPacker packer() { return {*weights, precision, convolutions, arena}; }

  std::shared_ptr<const VaeWeights> weights;
  kernels::Precision precision;
  base::Arena arena;
  kernels::Convolutions convolutions;
  kernels::PixelAttention attention;
  LayerRunner layers;
  std::unique_ptr<const Encoder> encoder;
  std::unique_ptr<const Decoder> decoder;
};

Vae::Vae(std::shared_ptr<const VaeWeights> weights,
         const VaeOptions& options,
         base::ThreadPool& pool) {
  if (options.precision == kernels::Precision::kInt8) {
    base::bad_input("the autoencoder computes in f32 or bf16, not in int8");
  }
  state_ = std::make_unique<State>(std::move(weights), options, pool);
}

Vae::~Vae() = default;

const VaeConfig& Vae::config() const { return state_->weights->config(); }

kernels::Precision Vae::computed() const {
  return state_->convolutions.matmul().computed(state_->precision);
}

void Vae::encode(std::span<const float> images_NCHW,
                 int64_t height,
                 int64_t width,
                 std::span<float> mean,
                 std::span<float> logvar) {
  const VaeConfig& shape = config();
  const int64_t factor = shape.factor();
  if (height < 1 || width < 1 || height % factor != 0 || width % factor != 0) {
    base::bad_input("expected images whose height and width are multiples of {}, found {}x{}",
                    factor,
                    height,
                    width);
  }
  const int64_t image_size = shape.image_channels * height * width;
  const int64_t size = shape.latent_channels * (height / factor) * (width / factor);
  const int64_t images = static_cast<int64_t>(images_NCHW.size()) / image_size;
  DITMOE_ASSERT(static_cast<int64_t>(images_NCHW.size()) == images * image_size);
  DITMOE_ASSERT(static_cast<int64_t>(mean.size()) == images * size);
  DITMOE_ASSERT(logvar.size() == mean.size());
  State& state = *state_;
  if (!state.encoder) state.encoder = std::make_unique<Encoder>(state.packer(), shape);
  for (int64_t i = 0; i < images; ++i) {
    const Map image = state.layers.take({height, width, shape.image_channels});
    to_map(images_NCHW.data() + i * image_size, image);
    const Map moments = state.encoder->run(image, state.layers);
    from_map(moments, 0, shape.latent_channels, mean.data() + i * size);
    from_map(moments, shape.latent_channels, shape.latent_channels, logvar.data() + i * size);
  }
  for (float& value : logvar) value = std::clamp(value, kLeastLogvar, kMostLogvar);
}

void Vae::decode(std::span<const float> latents_NCHW,
                 int64_t height,
                 int64_t width,
                 std::span<float> images) {
  const VaeConfig& shape = config();
  DITMOE_ASSERT(height > 0 && width > 0);
  const int64_t size = shape.latent_channels * height * width;
  const int64_t image_size =
      shape.image_channels * height * width * shape.factor() * shape.factor();
  const int64_t count = static_cast<int64_t>(latents_NCHW.size()) / size;
  DITMOE_ASSERT(static_cast<int64_t>(latents_NCHW.size()) == count * size);
  DITMOE_ASSERT(static_cast<int64_t>(images.size()) == count * image_size);
  State& state = *state_;
  if (!state.decoder) state.decoder = std::make_unique<Decoder>(state.packer(), shape);
  for (int64_t i = 0; i < count; ++i) {
    const Map latents = state.layers.take({height, width, shape.latent_channels});
    to_map(latents_NCHW.data() + i * size, latents);
    const Map image = state.decoder->run(latents, state.layers);
    from_map(image, 0, shape.image_channels, images.data() + i * image_size);
  }
}

void sample_posterior(std::span<const float> mean,
                      std::span<const float> logvar,
                      int64_t size,
                      uint64_t seed,
                      int64_t first_image,
                      std::span<float> latents) {
  const auto step = static_cast<size_t>(size);
  DITMOE_ASSERT(size > 0 && mean.size() % step == 0);
  DITMOE_ASSERT(logvar.size() == mean.size() && latents.size() == mean.size());
  for (size_t image = 0; image * step < mean.size(); ++image) {
    const std::span<float> own = latents.subspan(image * step, step);
    base::fill_normal(own,
                      {.seed = seed,
                       .index = static_cast<uint64_t>(first_image) + image,
                       .stream = kPosteriorStream});
    for (size_t i = 0; i < step; ++i) {
      own[i] = mean[image * step + i] + std::exp(0.5f * logvar[image * step + i]) * own[i];
    }
  }
}

}  // namespace ditmoe::networks
