#include "ditmoe/networks/vae_config.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "ditmoe/base/error.h"

namespace ditmoe::networks {
namespace {

// Far from overflow in every count, and beyond any autoencoder there is.
constexpr int64_t kMaxLevels = 8;
constexpr int64_t kMaxWidth = 8192;
constexpr int64_t kMaxResBlocks = 16;

// Goes through the network once, layer by layer, and keeps its tensors and its work.
class Walk {
 public:
  Walk(const VaeConfig& config, int64_t height, int64_t width)
      : config_(config), pixels_(height * width) {}

  void encoder() {
    pixels_ *= config_.factor() * config_.factor();
    convolution("encoder.conv_in", config_.image_channels, config_.channels, 3);
    int64_t channels = config_.channels;
    for (int64_t level = 0; level < config_.levels(); ++level) {
      const std::string name = fmt::format("encoder.down.{}.", level);
      channels = blocks(name, level, config_.num_res_blocks, channels);
      if (level + 1 == config_.levels()) break;
      pixels_ /= 4;
      convolution(name + "downsample.conv", channels, channels, 3);
    }
    middle("encoder.mid.", channels);
    norm("encoder.norm_out", channels);
    convolution("encoder.conv_out", channels, 2 * config_.z_channels, 3);
    const int64_t moments = 2 * config_.latent_channels;
    if (config_.quant_conv) convolution("quant_conv", 2 * config_.z_channels, moments, 1);
  }

  void decoder() {
    if (config_.quant_conv) {
      convolution("post_quant_conv", config_.latent_channels, config_.z_channels, 1);
    }
    int64_t channels = config_.widths.back();
    convolution("decoder.conv_in", config_.z_channels, channels, 3);
    middle("decoder.mid.", channels);
    for (int64_t level = config_.levels() - 1; level >= 0; --level) {
      const std::string name = fmt::format("decoder.up.{}.", level);
      channels = blocks(name, level, config_.num_res_blocks + 1, channels);
      if (level == 0) break;
      pixels_ *= 4;
      convolution(name + "upsample.conv", channels, channels, 3);
    }
    norm("decoder.norm_out", channels);
    convolution("decoder.conv_out", channels, config_.image_channels, 3);
  }

  std::vector<TensorSpec> take_specs() { return std::move(specs_); }

  int64_t macs() const { return macs_; }

 private:
  int64_t blocks(const std::string& name, int64_t level, int64_t count, int64_t channels) {
    const int64_t width = config_.widths[static_cast<size_t>(level)];
    for (int64_t block = 0; block < count; ++block) {
      res_block(fmt::format("{}block.{}.", name, block), channels, width);
      channels = width;
      if (config_.level_attention[static_cast<size_t>(level)]) {
        attention(fmt::format("{}attn.{}.", name, block), channels);
      }
    }
    return channels;
  }

  void middle(const std::string& name, int64_t channels) {
    res_block(name + "block_1.", channels, channels);
    if (config_.middle_attention) attention(name + "attn_1.", channels);
    res_block(name + "block_2.", channels, channels);
  }

  void res_block(const std::string& name, int64_t inputs, int64_t outputs) {
    norm(name + "norm1", inputs);
    convolution(name + "conv1", inputs, outputs, 3);
    norm(name + "norm2", outputs);
    convolution(name + "conv2", outputs, outputs, 3);
    if (inputs != outputs) convolution(name + "nin_shortcut", inputs, outputs, 1);
  }

  void attention(const std::string& name, int64_t channels) {
    norm(name + "norm", channels);
    for (const char* part : {"q", "k", "v", "proj_out"}) {
      convolution(name + part, channels, channels, 1);
    }
    macs_ += 2 * pixels_ * pixels_ * channels;
  }

  void norm(const std::string& name, int64_t channels) {
    specs_.push_back({name + ".weight", {channels}});
    specs_.push_back({name + ".bias", {channels}});
  }

  void convolution(const std::string& name, int64_t inputs, int64_t outputs, int64_t kernel) {
    specs_.push_back({name + ".weight", {outputs, inputs, kernel, kernel}});
    specs_.push_back({name + ".bias", {outputs}});
    macs_ += pixels_ * inputs * outputs * kernel * kernel;
  }

  const VaeConfig& config_;
  int64_t pixels_;
  std::vector<TensorSpec> specs_;
  int64_t macs_ = 0;
};

void expect_range(int64_t value, int64_t last, const std::string& source, const char* what) {
  if (value < 1 || value > last) {
    base::bad_input("{}: {}: expected 1 to {}, found {}", source, what, last, value);
  }
}

// Finds the configuration out from the shapes that decide it.
class Inference {
 public:
  Inference(const ShapeTable& table, const std::string& source) : table_(table), source_(source) {}

  VaeConfig run(int64_t groups) {
    VaeConfig config;
    const base::Shape& first = convolution("encoder.conv_in.weight");
    config.channels = first[0];
    config.image_channels = first[1];
    config.widths.clear();
    config.level_attention.clear();
    for (int64_t level = 0; contains(level_name(level, "block.0.conv1.weight")); ++level) {
      if (level == kMaxLevels) {
        base::bad_input("{}: expected at most {} levels, found more", source_, kMaxLevels);
      }
      config.widths.push_back(convolution(level_name(level, "block.0.conv1.weight"))[0]);
      config.level_attention.push_back(contains(level_name(level, "attn.0.norm.weight")));
    }
    config.num_res_blocks = 0;
    while (contains(fmt::format("encoder.down.0.block.{}.conv1.weight", config.num_res_blocks))) {
      ++config.num_res_blocks;
    }
    config.middle_attention = contains("encoder.mid.attn_1.norm.weight");
    config.z_channels = convolution("decoder.conv_in.weight")[1];
    config.quant_conv = contains("post_quant_conv.weight");
    config.latent_channels =
        config.quant_conv ? convolution("post_quant_conv.weight")[1] : config.z_channels;
    config.groups = groups;
    config.validate(source_);
    return config;
  }

 private:
  static std::string level_name(int64_t level, const char* rest) {
    return fmt::format("encoder.down.{}.{}", level, rest);
  }

  bool contains(const std::string& name) const { return table_.contains(name); }

  const base::Shape& convolution(const std::string& name) const {
    const auto found = table_.find(name);
    if (found == table_.end()) {
      base::bad_input(
          "{}: expected tensor '{}', as every autoencoder has it, found none", source_, name);
    }
    const base::Shape& shape = found->second.shape;
    if (shape.size() != 4) {
      base::bad_input("{}: tensor '{}': expected 4 dimensions, found {}",
                      source_,
                      found->second.name_in_file,
                      base::to_string(shape));
    }
    return shape;
  }

  const ShapeTable& table_;
  const std::string& source_;
};

// Attention's matrices may be those of linear layers: [channels, channels].
constexpr auto kSameShape = [](const base::Shape& found, const base::Shape& expected) {
  if (found == expected) return true;
  return found.size() == 2 && expected.size() == 4 && expected[2] == 1 && expected[3] == 1 &&
         found[0] == expected[0] && found[1] == expected[1];
};

}  // namespace

void VaeConfig::validate(const std::string& source) const {
  expect_range(levels(), kMaxLevels, source, "levels");
  expect_range(num_res_blocks, kMaxResBlocks, source, "residual blocks of a level");
  expect_range(image_channels, kMaxWidth, source, "image channels");
  expect_range(z_channels, kMaxWidth, source, "z channels");
  expect_range(latent_channels, kMaxWidth, source, "latent channels");
  expect_range(groups, kMaxWidth, source, "groups of a norm");
  DITMOE_ASSERT(level_attention.size() == widths.size());
  std::vector<int64_t> all = widths;
  all.push_back(channels);
  for (const int64_t width : all) {
    expect_range(width, kMaxWidth, source, "channels of a level");
    if (width % groups != 0) {
      base::bad_input(
          "{}: channels of a level: expected a multiple of {}, found {}", source, groups, width);
    }
  }
}

std::vector<TensorSpec> tensor_specs(const VaeConfig& config) {
  Walk walk(config, 1, 1);
  walk.encoder();
  walk.decoder();
  return walk.take_specs();
}

VaeConfig infer_vae_config(const ShapeTable& table, int64_t groups, const std::string& source) {
  const VaeConfig config = Inference(table, source).run(groups);
  expect_tensors(table, tensor_specs(config), kSameShape, source, "autoencoder");
  return config;
}

int64_t encode_macs(const VaeConfig& config, int64_t height, int64_t width) {
  Walk walk(config, height, width);
  walk.encoder();
  return walk.macs();
}

int64_t decode_macs(const VaeConfig& config, int64_t height, int64_t width) {
  Walk walk(config, height, width);
  walk.decoder();
  return walk.macs();
}

}  // namespace ditmoe::networks
