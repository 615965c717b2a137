#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ditmoe/data/open_dataset.h"
#include "ditmoe/formats/toml.h"
#include "ditmoe/kernels/precision.h"
#include "ditmoe/networks/vae_config.h"
#include "ditmoe/training/adamw.h"
#include "ditmoe/training/recipe.h"

namespace ditmoe::training {

// A network that tells patches of images from patches of reconstructions, trained beside the
// autoencoder; see patch_critic.h.
struct DiscriminatorSettings {
  double weight = 0.0;  // of its part in the autoencoder's loss; 0: there is none
  int64_t start = 0;    // the first step that has it
  int64_t width = 32;   // channels behind its first convolution
  double lr = 0.0;      // its learning rate at the peak; 0: as the autoencoder's
};

// A run that trains an autoencoder, as a recipe of kind "vae" describes it. The loss is
//   mean squared error + l1_weight · mean absolute error + kl_weight · Posterior::divergence()
// of pixels in [-1, 1], all means over all values, and what a discriminator adds. At the optimum
// the noise of latents costs a mean squared error of kl_weight / 2, whatever the network: 1e-4
// leaves room for 49 dB.
struct VaeRecipe {
  std::string name;
  networks::VaeConfig model;
  int64_t image_size = 0;

  data::DataSettings data;
  int64_t workers = 1;  // threads that prepare batches; 0: none beside the trainer

  // Images to look at and measure with, if any.
  std::optional<data::DataSettings> held_out;
  int64_t held_out_images = 512;

  int64_t steps = 0;
  int64_t batch_size = 32;  // images of an update
  int64_t part_size = 8;    // images that a thread computes at a time
  RateSchedule rate = {.peak = 1e-3, .cosine = true};
  AdamwSettings adamw;
  double ema_decay = 0.999;
  bool ema_warmup = true;  // decay at step n is min(ema_decay, (1 + n)/(10 + n))
  double clip_norm = 1.0;  // global gradient norm; 0 is off
  double l1_weight = 0.0;
  double kl_weight = 1e-4;
  DiscriminatorSettings discriminator;
  kernels::Precision precision = kernels::Precision::kF32;
  uint64_t seed = 0;

  int64_t latent_images = 2000;  // of the training data, whose latents decide the scale

  int64_t log_every = 50;
  int64_t checkpoint_every = 500;
  int64_t keep_checkpoints = 2;
  int64_t sample_every = 0;  // steps between pictures of reconstructions; 0: none
  int64_t sample_images = 32;
  std::string export_dtype = "f32";

  double ema_decay_at(int64_t step) const;
};

// Reads and checks a recipe of kind "vae". Throws bad_input pointing at the line for unknown keys,
// wrong types and values out of range.
VaeRecipe read_vae_recipe(formats::TomlDocument& document);

}  // namespace ditmoe::training
