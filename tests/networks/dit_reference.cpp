#include "dit_reference.h"

#include <fmt/format.h>

#include "ditmoe/kernels/ref/attention.h"
#include "ditmoe/kernels/ref/gated_residual.h"
#include "ditmoe/kernels/ref/gelu_tanh.h"
#include "ditmoe/kernels/ref/layer_norm.h"
#include "ditmoe/kernels/ref/matmul.h"
#include "ditmoe/kernels/ref/patchify.h"
#include "ditmoe/kernels/ref/router.h"
#include "ditmoe/kernels/ref/silu.h"
#include "ditmoe/kernels/ref/timestep_embedding.h"

namespace ditmoe::networks {

namespace ref = kernels::ref;

std::vector<float> DitReference::weight(const std::string& name) const {
  const base::Tensor tensor = base::convert(model_.weight(name), base::DType::kF32);
  return {tensor.as<float>().begin(), tensor.as<float>().end()};
}

std::vector<float> DitReference::linear(const std::string& name, const Values& x, bool bias) const {
  const base::Shape shape = model_.weight(name + ".weight").shape;
  const int64_t outputs = shape[0];
  const int64_t inputs = base::num_elements(shape) / outputs;
  const int64_t rows = static_cast<int64_t>(x.size()) / inputs;
  const Values bias_values = bias ? weight(name + ".bias") : Values();
  Values y(static_cast<size_t>(rows * outputs));
  ref::matmul(x.data(),
              rows,
              weight(name + ".weight").data(),
              bias ? bias_values.data() : nullptr,
              outputs,
              inputs,
              y.data());
  return y;
}

std::vector<float> DitReference::swiglu(const std::string& name, const Values& x) const {
  Values hidden = linear(name + ".gate_proj", x, false);
  const Values up = linear(name + ".up_proj", x, false);
  ref::silu(hidden.data(), static_cast<int64_t>(hidden.size()), hidden.data());
  for (size_t i = 0; i < hidden.size(); ++i) {
    hidden[i] *= up[i];
  }
  return linear(name + ".down_proj", hidden, false);
}

std::vector<float> DitReference::time_embedding(float t) const {
  Values sinusoids(256);
  ref::timestep_embedding(&t, 1, sinusoids.data());
  Values hidden = linear("t_embedder.mlp.0", sinusoids, true);
  ref::silu(hidden.data(), config_.width, hidden.data());
  return linear("t_embedder.mlp.2", hidden, true);
}

std::vector<float> DitReference::condition(float t, int32_t label) const {
  Values sum = time_embedding(t);
  const Values labels = weight("y_embedder.embedding_table.weight");
  for (int64_t i = 0; i < config_.width; ++i) {
    sum[i] += labels[label * config_.width + i];
  }
  ref::silu(sum.data(), config_.width, sum.data());
  return sum;
}

std::vector<float> DitReference::modulated(const Values& x,
                                           const float* shift,
                                           const float* scale) const {
  Values y(x.size());
  ref::layer_norm_modulate(x.data(), shift, scale, config_.tokens(), config_.width, y.data());
  return y;
}

std::vector<float> DitReference::attention(const std::string& block, const Values& qkv) const {
  const kernels::AttentionShape shape{config_.tokens(), config_.heads, config_.head_dim()};
  Values norms[4];
  kernels::QkNorm norm;
  if (config_.qk_norm) {
    norms[0] = weight(block + "attn.q_norm.weight");
    norms[1] = weight(block + "attn.q_norm.bias");
    norms[2] = weight(block + "attn.k_norm.weight");
    norms[3] = weight(block + "attn.k_norm.bias");
    norm = {norms[0].data(), norms[1].data(), norms[2].data(), norms[3].data()};
  }
  Values y(static_cast<size_t>(config_.tokens() * config_.width));
  for (int64_t head = 0; head < config_.heads; ++head) {
    ref::attention(qkv.data(), shape, head, config_.qk_norm ? &norm : nullptr, y.data());
  }
  return y;
}

std::vector<float> DitReference::routed(const std::string& name, const Values& x) const {
  const Values logits = linear(name + "gate", x, false);
  std::vector<int32_t> index(static_cast<size_t>(config_.tokens() * config_.top_k));
  Values weights(index.size());
  const Values bias = config_.router_bias ? weight(name + "gate." + kRouterBias) : Values();
  const kernels::RouterRule rule{
      config_.router_score, config_.renormalise, config_.router_bias ? bias.data() : nullptr};
  ref::route(logits.data(),
             config_.tokens(),
             config_.experts,
             rule,
             config_.top_k,
             index.data(),
             weights.data());
  std::vector<Values> experts;
  for (int64_t expert = 0; expert < config_.experts; ++expert) {
    experts.push_back(swiglu(fmt::format("{}experts.{}", name, expert), x));
  }
  Values y(x.size());
  for (int64_t choice = 0; choice < config_.tokens() * config_.top_k; ++choice) {
    const int64_t first = choice / config_.top_k * config_.width;
    for (int64_t i = first; i < first + config_.width; ++i) {
      y[i] += weights[choice] * experts[index[choice]][i];
    }
  }
  return y;
}

std::vector<float> DitReference::feed_forward(int64_t layer, const Values& x) const {
  const std::string block = fmt::format("blocks.{}.", layer);
  if (config_.feed_forward == FeedForward::kGelu) {
    Values hidden = linear(block + "mlp.fc1", x, true);
    ref::gelu_tanh(hidden.data(), static_cast<int64_t>(hidden.size()), hidden.data());
    return linear(block + "mlp.fc2", hidden, true);
  }
  if (!config_.is_moe(layer)) {
    return swiglu(block + "mlp", x);
  }
  Values y = routed(block + "moe.", x);
  if (config_.shared_experts > 0) {
    const Values shared = swiglu(block + "moe.shared_experts", x);
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] += shared[i];
    }
  }
  return y;
}

// 1 + sum over the chosen experts of p · (x W + b), element by element.
std::vector<float> DitReference::time_mask(int64_t layer, float t, const Values& x) const {
  const std::string router = fmt::format("routers.{}.", layer);
  const int64_t width = config_.width;
  Values time = time_embedding(t);
  ref::silu(time.data(), width, time.data());
  const Values logits = linear(router + "f_gate.1", time, true);
  std::vector<int32_t> chosen(static_cast<size_t>(config_.time_top_k));
  Values share(chosen.size());
  ref::route(
      logits.data(), 1, config_.time_experts, {}, config_.time_top_k, chosen.data(), share.data());
  const Values weights = weight(router + "experts.w");
  const Values biases = weight(router + "experts.b");
  Values mask(x.size(), 1.0f);
  for (size_t k = 0; k < chosen.size(); ++k) {
    const float* w = weights.data() + chosen[k] * width * width;  // [in, out]
    for (size_t i = 0; i < x.size(); ++i) {
      const int64_t out = static_cast<int64_t>(i) % width;
      const float* row = x.data() + static_cast<int64_t>(i) - out;
      double sum = biases[static_cast<size_t>(chosen[k] * width + out)];
      for (int64_t in = 0; in < width; ++in) sum += double{row[in]} * w[in * width + out];
      mask[i] += share[k] * static_cast<float>(sum);
    }
  }
  return mask;
}

void DitReference::run_masked_block(int64_t layer,
                                    float t,
                                    const Values& condition,
                                    Values& x) const {
  const Values mask = time_mask(layer, t, x);
  const Values before = x;
  for (size_t i = 0; i < x.size(); ++i) x[i] *= mask[i];
  run_block(layer, condition, x);
  for (size_t i = 0; i < x.size(); ++i) x[i] += (1.0f - mask[i]) * before[i];
}

void DitReference::run_block(int64_t layer, const Values& condition, Values& x) const {
  const std::string block = fmt::format("blocks.{}.", layer);
  const int64_t width = config_.width;
  const Values modulation = linear(block + "adaLN_modulation.1", condition, true);
  const float* part = modulation.data();
  const Values qkv = linear(block + "attn.qkv", modulated(x, part, part + width), true);
  const Values attended = linear(block + "attn.proj", attention(block, qkv), true);
  ref::gated_residual(attended.data(), part + 2 * width, config_.tokens(), width, x.data());
  const Values fed = feed_forward(layer, modulated(x, part + 3 * width, part + 4 * width));
  ref::gated_residual(fed.data(), part + 5 * width, config_.tokens(), width, x.data());
}

std::vector<float> DitReference::predict(const float* image, float t, int32_t label) const {
  const int64_t size = config_.image_size;
  const kernels::PatchShape in{config_.channels, size, size, config_.patch_size};
  const kernels::PatchShape out{config_.output_channels(), size, size, config_.patch_size};
  Values patches(static_cast<size_t>(in.image_size()));
  ref::patchify(image, in, patches.data());
  Values x = linear("x_embedder.proj", patches, true);
  const Values position = weight("pos_embed");
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] += position[i];
  }
  const Values c = condition(t, label);
  for (int64_t layer = 0; layer < config_.depth; ++layer) {
    if (config_.time_experts > 0) {
      run_masked_block(layer, t, c, x);
    } else {
      run_block(layer, c, x);
    }
  }
  const Values shift_scale = linear("final_layer.adaLN_modulation.1", c, true);
  const float* shift = shift_scale.data();
  const Values tokens =
      linear("final_layer.linear", modulated(x, shift, shift + config_.width), true);
  Values result(static_cast<size_t>(out.image_size()));
  ref::unpatchify(tokens.data(), out, result.data());
  return result;
}

}  // namespace ditmoe::networks
