#pragma once

#include <array>
#include <cstdint>
#include <string>

#include <fmt/format.h>

namespace ditmoe::networks {

// How a DiTTransformer2DModel of huggingface/diffusers names what facebookresearch/DiT calls
// otherwise. Of every block's attn.qkv it has three parts: attn1.to_q, to_k and to_v.

// A tensor in both spellings.
struct DiffusersName {
  const char* canonical;
  const char* diffusers;
};

inline constexpr std::array<DiffusersName, 6> kDiffusersOutside = {{
    {"x_embedder.proj.weight", "pos_embed.proj.weight"},
    {"x_embedder.proj.bias", "pos_embed.proj.bias"},
    {"final_layer.linear.weight", "proj_out_2.weight"},
    {"final_layer.linear.bias", "proj_out_2.bias"},
    {"final_layer.adaLN_modulation.1.weight", "proj_out_1.weight"},
    {"final_layer.adaLN_modulation.1.bias", "proj_out_1.bias"},
}};

// Stored in every block.
inline constexpr std::array<DiffusersName, 5> kDiffusersRepeated = {{
    {"t_embedder.mlp.0.weight", "norm1.emb.timestep_embedder.linear_1.weight"},
    {"t_embedder.mlp.0.bias", "norm1.emb.timestep_embedder.linear_1.bias"},
    {"t_embedder.mlp.2.weight", "norm1.emb.timestep_embedder.linear_2.weight"},
    {"t_embedder.mlp.2.bias", "norm1.emb.timestep_embedder.linear_2.bias"},
    {"y_embedder.embedding_table.weight", "norm1.emb.class_embedder.embedding_table.weight"},
}};

inline constexpr std::array<DiffusersName, 8> kDiffusersInBlock = {{
    {"attn.proj.weight", "attn1.to_out.0.weight"},
    {"attn.proj.bias", "attn1.to_out.0.bias"},
    {"mlp.fc1.weight", "ff.net.0.proj.weight"},
    {"mlp.fc1.bias", "ff.net.0.proj.bias"},
    {"mlp.fc2.weight", "ff.net.2.weight"},
    {"mlp.fc2.bias", "ff.net.2.bias"},
    {"adaLN_modulation.1.weight", "norm1.linear.weight"},
    {"adaLN_modulation.1.bias", "norm1.linear.bias"},
}};

inline std::string diffusers_in_block(int64_t block, const std::string& name) {
  return fmt::format("transformer_blocks.{}.{}", block, name);
}

}  // namespace ditmoe::networks
