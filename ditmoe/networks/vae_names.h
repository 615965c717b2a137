#pragma once

#include <string>
#include <vector>

#include "ditmoe/networks/shape_table.h"

namespace ditmoe::networks {

// The autoencoder's tensors among those of a file, by the names of CompVis' code:
// - first_stage_model. of checkpoints that hold a diffusion model as well is taken off, and what
//   does not begin with it is left out; so are other networks beside an autoencoder (its loss);
// - diffusers' names are translated: encoder.down_blocks.0.resnets.1.conv1 ->
//   encoder.down.0.block.1.conv1, decoder.up_blocks.0 -> decoder.up.<last level>, mid_block,
//   attention's to_q, to_k, to_v, to_out.0 and, older, query, key, value, proj_attn.
// Throws bad_input naming source for two tensors of one name.
ShapeTable vae_shape_table(const std::vector<NamedShape>& tensors, const std::string& source);

}  // namespace ditmoe::networks
