#pragma once

#include <string>
#include <vector>

#include "ditmoe/formats/png.h"
#include "ditmoe/training/dit_module.h"
#include "ditmoe/training/recipe.h"

namespace ditmoe::training {

// Samples of a module as the recipe says, a row for each class, the same noise every time. Latents
// are decoded by recipe.vae; without one their first channels are shown.
formats::Image draw_sample_grid(const Recipe& recipe,
                                const DitModule& module,
                                const std::vector<std::string>& class_names);

// How choices fall on experts, a row for each MoE block: white is none, full colour is twice the
// mean or more. loads_LE over the mean, f64.
formats::Image draw_expert_loads(const at::Tensor& loads_LE);

}  // namespace ditmoe::training
