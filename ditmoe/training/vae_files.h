#pragma once

#include <string>

#include "ditmoe/networks/vae_weights.h"
#include "ditmoe/training/checkpoint_store.h"
#include "ditmoe/training/vae_evaluation.h"
#include "ditmoe/training/vae_updater.h"

namespace ditmoe::training {

// What a file says of latents such as these: networks see (latent - mean) / deviation.
networks::VaeSettings settings_of(const VaeRecipe& recipe, const LatentStatistics& latents);

// Saves the checkpoint of state.steps_done: model.safetensors and ema.safetensors, which
// networks::open_vae reads, optimizer.safetensors, critic.safetensors where there is one, and
// state.json.
void save_vae_checkpoint(CheckpointStore& store,
                         const VaeRecipe& recipe,
                         const VaeState& state,
                         const LatentStatistics& latents);

// Restores the newest intact checkpoint; false where there was none at all. Throws bad_input where
// it was made with another network, seed, batch size, part size or data: the numbers of a run are
// keyed by those.
bool restore_vae_checkpoint(CheckpointStore& store, const VaeRecipe& recipe, VaeState& state);

// The averaged weights as networks::open_vae reads them, in recipe.export_dtype.
void export_vae(const std::string& path,
                const VaeRecipe& recipe,
                const VaeState& state,
                const LatentStatistics& latents);

}  // namespace ditmoe::training
