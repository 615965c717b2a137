#include "ditmoe/networks/dit_weights.h"

#include <algorithm>
#include <span>
#include <string>

#include <fmt/format.h>

namespace ditmoe::networks {
namespace {

using kernels::PackedMatrix;
using kernels::Precision;

class Loader {
 public:
  Loader(const WeightSource& source,
         Precision precision,
         kernels::Matmul& matmul,
         base::Arena& arena)
      : source_(source), precision_(precision), matmul_(matmul), arena_(arena) {}

  base::Tensor floats(const std::string& name) const { return source_.floats(name); }

  // A weight of [outputs, ...] with everything behind the first dimension taken as inputs.
  PackedMatrix linear(const std::string& name, bool bias, Precision precision) const {
    return pack_rows({name}, bias, 0, source_.shape(name + ".weight").front(), precision);
  }

  Precision precision() const { return precision_; }

  Precision modulation_precision() const {
    return precision_ == Precision::kF32 ? Precision::kF32 : Precision::kBf16;
  }

  BlockWeights block(const DitConfig& config, int64_t layer) const {
    const std::string name = fmt::format("blocks.{}.", layer);
    BlockWeights block;
    block.modulation = linear(name + "adaLN_modulation.1", true, modulation_precision());
    const bool whole = matmul_.computed(precision_) == Precision::kF32;
    block.qkv = chunks({name + "attn.qkv"}, true, whole ? 3 * config.width : config.width);
    block.proj = linear(name + "attn.proj", true, precision_);
    if (config.qk_norm) {
      for (const char* part : {"q_norm.weight", "q_norm.bias", "k_norm.weight", "k_norm.bias"}) {
        const base::Tensor values = floats(name + "attn." + part);
        const std::span<const float> all = values.as<float>();
        block.qk_norm.insert(block.qk_norm.end(), all.begin(), all.end());
      }
    }
    if (config.is_moe(layer)) {
      block.routed = RoutedWeights{floats(name + "moe.gate.weight"), {}};
      block.routed->experts.resize(static_cast<size_t>(config.experts));
      if (config.shared_experts > 0) block.swiglu = swiglu(name + "moe.shared_experts");
    } else if (config.feed_forward == FeedForward::kGelu) {
      block.gelu = GeluWeights{chunks({name + "mlp.fc1"}, true, kHiddenChunk),
                               linear(name + "mlp.fc2", true, precision_)};
    } else {
      block.swiglu = swiglu(name + "mlp");
    }
    return block;
  }

  SwigluWeights swiglu(const std::string& name) const {
    return {chunks({name + ".gate_proj", name + ".up_proj"}, false, kHiddenChunk),
            linear(name + ".down_proj", false, precision_)};
  }

 private:
  // Weights of the same shape, cut into chunks of rows, the same rows of all together in a chunk.
  std::vector<PackedMatrix> chunks(const std::vector<std::string>& names,
                                   bool bias,
                                   int64_t chunk) const {
    const int64_t outputs = source_.shape(names.front() + ".weight").front();
    std::vector<PackedMatrix> packed;
    for (int64_t first = 0; first < outputs; first += chunk) {
      packed.push_back(pack_rows(names, bias, first, std::min(chunk, outputs - first), precision_));
    }
    return packed;
  }

  // Rows [first, first + count) of each of the named weights, one below the other.
  PackedMatrix pack_rows(const std::vector<std::string>& names,
                         bool bias,
                         int64_t first,
                         int64_t count,
                         Precision precision) const {
    const std::string front = names.front() + ".weight";
    const base::DType dtype = source_.dtype(front);
    const base::Shape& shape = source_.shape(front);
    const int64_t width = base::num_elements(shape) / shape.front();
    base::Tensor rows(dtype, {static_cast<int64_t>(names.size()) * count, width});
    std::byte* dst = rows.data();
    for (const std::string& name : names) {
      source_.read(name + ".weight", first * width, count * width, dtype, dst);
      dst += static_cast<size_t>(count * width) * base::size_of(dtype);
    }
    const base::Tensor bias_values =
        bias ? source_.floats(names.front() + ".bias") : base::Tensor();
    const float* bias_from = bias ? bias_values.as<float>().data() + first : nullptr;
    return matmul_.pack(rows.view(), bias_from, precision, arena_);
  }

  const WeightSource& source_;
  Precision precision_;
  kernels::Matmul& matmul_;
  base::Arena& arena_;
};

}  // namespace

kernels::QkNorm BlockWeights::norm_views() const {
  const float* values = qk_norm.data();
  const auto head_dim = static_cast<int64_t>(qk_norm.size()) / 4;
  return {values, values + head_dim, values + 2 * head_dim, values + 3 * head_dim};
}

DitWeights load_dit_weights(const WeightSource& source,
                            Precision precision,
                            kernels::Matmul& matmul,
                            base::Arena& arena,
                            base::ThreadPool& pool) {
  const DitConfig& config = source.config();
  const Loader load(source, precision, matmul, arena);
  DitWeights weights;
  weights.patch = load.linear("x_embedder.proj", true, Precision::kF32);
  weights.position_TD = load.floats("pos_embed");
  weights.time_0 = load.linear("t_embedder.mlp.0", true, Precision::kF32);
  weights.time_2 = load.linear("t_embedder.mlp.2", true, Precision::kF32);
  weights.labels_LD = load.floats("y_embedder.embedding_table.weight");
  weights.blocks.resize(static_cast<size_t>(config.depth));
  pool.run(config.depth, [&](int64_t layer, int) {
    weights.blocks[static_cast<size_t>(layer)] = load.block(config, layer);
  });
  pool.run(config.depth * config.experts, [&](int64_t i, int) {
    BlockWeights& block = weights.blocks[static_cast<size_t>(i / config.experts)];
    const int64_t expert = i % config.experts;
    if (!block.routed) return;
    block.routed->experts[static_cast<size_t>(expert)] =
        load.swiglu(fmt::format("blocks.{}.moe.experts.{}", i / config.experts, expert));
  });
  weights.final_modulation =
      load.linear("final_layer.adaLN_modulation.1", true, load.modulation_precision());
  weights.final_linear = load.linear("final_layer.linear", true, Precision::kF32);
  return weights;
}

}  // namespace ditmoe::networks
