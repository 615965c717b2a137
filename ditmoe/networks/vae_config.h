#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ditmoe/networks/dit_config.h"
#include "ditmoe/networks/shape_table.h"

namespace ditmoe::networks {

// Shape of an autoencoder with a KL posterior (AutoencoderKL of Rombach et al., arXiv 2112.10752):
// levels of residual blocks, each but the last halving its image, and in the middle a block,
// attention over all pixels and another block; the decoder mirrors that with one more block a
// level. The defaults are Stable Diffusion's: 8 pixels to a latent.
struct VaeConfig {
  int64_t image_channels = 3;
  int64_t channels = 128;  // behind the first convolution of the encoder
  std::vector<int64_t> widths = {128, 256, 512, 512};  // of each level, the image's first
  int64_t num_res_blocks = 2;                          // of a level of the encoder
  int64_t z_channels = 4;
  int64_t latent_channels = 4;  // what quant_conv makes of z
  bool quant_conv = true;       // whether there are quant_conv and post_quant_conv
  bool middle_attention = true;
  std::vector<bool> level_attention = {false, false, false, false};  // behind each of its blocks
  int64_t groups = 32;                                               // of every GroupNorm

  int64_t levels() const { return static_cast<int64_t>(widths.size()); }

  // Pixels of an image to one latent, in height and in width.
  int64_t factor() const { return int64_t{1} << (levels() - 1); }

  // Throws bad_input "<source>: ..." for a shape that cannot be.
  void validate(const std::string& source = "autoencoder configuration") const;

  bool operator==(const VaeConfig&) const = default;
};

// Every tensor, by the names of CompVis' code: encoder.down.0.block.0.conv1.weight ... The matrices
// of attention are [channels, channels, 1, 1].
std::vector<TensorSpec> tensor_specs(const VaeConfig& config);

// What shapes tell, by canonical name (vae_names.h); the groups they do not tell are 32. Throws
// bad_input naming source and tensor for what is no such autoencoder.
VaeConfig infer_vae_config(const ShapeTable& table, int64_t groups, const std::string& source);

// Multiply-accumulates of all convolutions and attention for an image of height x width latents (so
// many times factor() pixels), as the network is defined, whatever way they are computed.
int64_t encode_macs(const VaeConfig& config, int64_t height, int64_t width);
int64_t decode_macs(const VaeConfig& config, int64_t height, int64_t width);

}  // namespace ditmoe::networks
