#include "ditmoe/networks/vae_layers.h"

#include <algorithm>
#include <utility>

#include "ditmoe/base/error.h"
#include "ditmoe/kernels/group_norm.h"

namespace ditmoe::networks {
namespace {

using kernels::ConvolutionJob;
using kernels::MapShape;
using kernels::Resampling;

std::vector<float> vector_of(const base::Tensor& values) {
  const auto floats = values.as<float>();
  return {floats.begin(), floats.end()};
}

// A GroupNorm of one map.
class FoldedNorm {
 public:
  FoldedNorm(const GroupNormWeights& norm, const Map& map, int64_t groups, bool silu)
      : scale_(norm.weight.size()), shift_(norm.weight.size()) {
    DITMOE_ASSERT(static_cast<int64_t>(scale_.size()) == map.shape().channels);
    kernels::fold_group_norm(map.row_sums(),
                             map.shape(),
                             groups,
                             norm.weight.data(),
                             norm.bias.data(),
                             scale_.data(),
                             shift_.data());
    affine_ = {scale_.data(), shift_.data(), silu};
  }

  FoldedNorm(const FoldedNorm&) = delete;
  FoldedNorm& operator=(const FoldedNorm&) = delete;

  const kernels::ChannelAffine* get() const { return &affine_; }

 private:
  std::vector<float> scale_;
  std::vector<float> shift_;
  kernels::ChannelAffine affine_;
};

}  // namespace

kernels::PackedConvolution LayerPacker::convolution(const std::string& name,
                                                    Resampling resampling) const {
  const base::Tensor weight = weights_.read(name + ".weight");
  const base::Tensor bias = weights_.read(name + ".bias");
  return convolutions_.pack(
      {.weight = weight.view(), .bias = bias.as<float>().data(), .resampling = resampling},
      precision_,
      arena_);
}

kernels::PackedConvolution LayerPacker::edge_convolution(const std::string& name) const {
  return LayerPacker(weights_, kernels::Precision::kF32, convolutions_, arena_)
      .convolution(name, Resampling::kNone);
}

GroupNormWeights LayerPacker::norm(const std::string& name) const {
  return {vector_of(weights_.read(name + ".weight")), vector_of(weights_.read(name + ".bias"))};
}

ResBlock LayerPacker::res_block(const std::string& name, bool shortcut) const {
  ResBlock block;
  block.norm1 = norm(name + ".norm1");
  block.conv1 = convolution(name + ".conv1", Resampling::kNone);
  block.norm2 = norm(name + ".norm2");
  if (!shortcut) {
    block.conv2 = convolution(name + ".conv2", Resampling::kNone);
    return block;
  }
  const base::Tensor weight = weights_.read(name + ".conv2.weight");
  const base::Tensor bias = weights_.read(name + ".conv2.bias");
  const base::Tensor shortcut_weight = weights_.read(name + ".nin_shortcut.weight");
  const base::Tensor shortcut_bias = weights_.read(name + ".nin_shortcut.bias");
  block.conv2 = convolutions_.pack({.weight = weight.view(),
                                    .bias = bias.as<float>().data(),
                                    .shortcut = shortcut_weight.view(),
                                    .shortcut_bias = shortcut_bias.as<float>().data()},
                                   precision_,
                                   arena_);
  return block;
}

AttentionBlock LayerPacker::attention(const std::string& name) const {
  AttentionBlock block;
  block.norm = norm(name + ".norm");
  const auto channels = static_cast<int64_t>(block.norm.weight.size());
  base::Tensor weight(base::DType::kF32, {3 * channels, channels, 1, 1});
  base::Tensor bias(base::DType::kF32, {3 * channels});
  int64_t part = 0;
  for (const char* which : {".q", ".k", ".v"}) {
    const base::Tensor own_weight = weights_.read(name + which + ".weight");
    const base::Tensor own_bias = weights_.read(name + which + ".bias");
    std::copy_n(own_weight.as<float>().begin(),
                channels * channels,
                weight.as<float>().begin() + part * channels * channels);
    std::copy_n(own_bias.as<float>().begin(), channels, bias.as<float>().begin() + part * channels);
    ++part;
  }
  block.qkv = convolutions_.pack(
      {.weight = weight.view(), .bias = bias.as<float>().data()}, precision_, arena_);
  block.proj = convolution(name + ".proj_out", Resampling::kNone);
  return block;
}

Map LayerRunner::convolution(const kernels::PackedConvolution& convolution, const Map& x) {
  Map y = take(convolution.result_of(x.shape()));
  convolutions_.run(
      convolution,
      {.source = x.data(), .shape = x.shape(), .result = y.data(), .row_sums = y.row_sums()});
  return y;
}

Map LayerRunner::convolution(const GroupNormWeights& norm,
                             const kernels::PackedConvolution& convolution,
                             const Map& x) {
  const FoldedNorm folded(norm, x, groups_, /*silu=*/true);
  Map y = take(convolution.result_of(x.shape()));
  convolutions_.run(convolution,
                    {.source = x.data(),
                     .shape = x.shape(),
                     .affine = folded.get(),
                     .result = y.data(),
                     .row_sums = y.row_sums()});
  return y;
}

Map LayerRunner::run(const ResBlock& block, Map x) {
  const Map hidden = convolution(block.norm1, block.conv1, x);
  const FoldedNorm norm2(block.norm2, hidden, groups_, /*silu=*/true);
  ConvolutionJob job = {.source = hidden.data(), .shape = hidden.shape(), .affine = norm2.get()};
  if (block.conv2.shortcut_inputs() > 0) {
    Map y = take(block.conv2.result_of(hidden.shape()));
    job.shortcut = x.data();
    job.result = y.data();
    job.row_sums = y.row_sums();
    convolutions_.run(block.conv2, job);
    return y;
  }
  job.residual = x.data();
  job.result = x.data();
  job.row_sums = x.row_sums();
  convolutions_.run(block.conv2, job);
  return x;
}

Map LayerRunner::run(const AttentionBlock& block, Map x) {
  const FoldedNorm norm(block.norm, x, groups_, /*silu=*/false);
  Map attended = take(x.shape());
  {
    const Map qkv = take(block.qkv.result_of(x.shape()));
    convolutions_.run(
        block.qkv,
        {.source = x.data(), .shape = x.shape(), .affine = norm.get(), .result = qkv.data()});
    attention_.run(qkv.data(), x.shape().pixels(), x.shape().channels, precision_, attended.data());
  }
  convolutions_.run(block.proj,
                    {.source = attended.data(),
                     .shape = attended.shape(),
                     .residual = x.data(),
                     .result = x.data(),
                     .row_sums = x.row_sums()});
  return x;
}

}  // namespace ditmoe::networks
