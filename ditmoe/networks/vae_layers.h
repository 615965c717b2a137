#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ditmoe/base/arena.h"
#include "ditmoe/kernels/convolution.h"
#include "ditmoe/kernels/pixel_attention.h"
#include "ditmoe/networks/vae_maps.h"
#include "ditmoe/networks/vae_weights.h"

namespace ditmoe::networks {

// The autoencoder's layers with their weights packed.

struct GroupNormWeights {
  std::vector<float> weight;
  std::vector<float> bias;
};

struct ResBlock {
  GroupNormWeights norm1;
  kernels::PackedConvolution conv1;
  GroupNormWeights norm2;
  kernels::PackedConvolution conv2;  // with the shortcut's, where the block has one
};

struct AttentionBlock {
  GroupNormWeights norm;
  kernels::PackedConvolution qkv;
  kernels::PackedConvolution proj;
};

// Reads layers by name and packs them.
class LayerPacker {
 public:
  // All must outlive the object.
  LayerPacker(const VaeWeights& weights,
              kernels::Precision precision,
              kernels::Convolutions& convolutions,
              base::Arena& arena)
      : weights_(weights), precision_(precision), convolutions_(convolutions), arena_(arena) {}

  // A convolution in the packer's precision, and one that is f32 in any.
  kernels::PackedConvolution convolution(const std::string& name,
                                         kernels::Resampling resampling) const;
  kernels::PackedConvolution edge_convolution(const std::string& name) const;

  GroupNormWeights norm(const std::string& name) const;
  ResBlock res_block(const std::string& name, bool shortcut) const;
  AttentionBlock attention(const std::string& name) const;

 private:
  const VaeWeights& weights_;
  kernels::Precision precision_;
  kernels::Convolutions& convolutions_;
  base::Arena& arena_;
};

// Computes layers, one map to the next.
class LayerRunner {
 public:
  // All must outlive the object.
  LayerRunner(kernels::Convolutions& convolutions,
              kernels::PixelAttention& attention,
              kernels::Precision precision,
              int64_t groups)
      : convolutions_(convolutions),
        attention_(attention),
        precision_(precision),
        groups_(groups) {}

  Map take(const kernels::MapShape& shape) { return memory_.take(shape); }

  Map convolution(const kernels::PackedConvolution& convolution, const Map& x);

  // Of silu(GroupNorm(x)).
  Map convolution(const GroupNormWeights& norm,
                  const kernels::PackedConvolution& convolution,
                  const Map& x);

  // x + conv2(silu(norm2(conv1(silu(norm1(x)))))), the first x by a 1x1 convolution where the
  // number of channels changes.
  Map run(const ResBlock& block, Map x);

  // x + proj(attention(qkv(norm(x))))
  Map run(const AttentionBlock& block, Map x);

 private:
  kernels::Convolutions& convolutions_;
  kernels::PixelAttention& attention_;
  kernels::Precision precision_;
  int64_t groups_;
  MapMemory memory_;
};

}  // namespace ditmoe::networks
