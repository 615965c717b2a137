#pragma once

#include <cstdint>
#include <string>

#include "ditmoe/formats/toml.h"
#include "ditmoe/networks/dit_config.h"
#include "ditmoe/networks/model_file.h"
#include "ditmoe/training/adamw.h"

namespace ditmoe::training {

// How the learning rate moves: linear warm-up, then constant, then (cosine) half a cosine down to
// final_lr between decay_start and the last step.
struct RateSchedule {
  double peak = 1e-4;
  bool cosine = false;
  int64_t warmup_steps = 0;
  int64_t decay_start = 0;  // first step of the cosine; 0 means right after warm-up
  double final_lr = 0.0;

  // Rate of step 0..steps-1.
  double at(int64_t step, int64_t steps) const;
};

// One complete training run, as a recipe file describes it. Defaults are the paper's where it has
// any.
struct Recipe {
  std::string name;
  networks::DitConfig model;

  std::string data_kind = "fashion_mnist";
  std::string data_folder = "/usr/share/datasets/fashion-mnist";
  int64_t data_limit = 0;  // use only the first images; 0 is all

  int64_t steps = 0;
  int64_t batch_size = 256;  // images per update
  int64_t accumulation = 1;  // micro-batches per update
  RateSchedule rate;
  AdamwSettings adamw;
  double ema_decay = 0.9999;
  bool ema_warmup = false;  // decay at step n is min(ema_decay, (1 + n)/(10 + n))
  double clip_norm = 0.0;   // global gradient norm; 0 is off
  double label_dropout = 0.1;
  uint64_t seed = 0;

  int64_t log_every = 50;
  int64_t checkpoint_every = 1000;
  int64_t keep_checkpoints = 2;
  int64_t sample_every = 0;  // 0: no sample grids
  int64_t samples_per_class = 4;
  networks::SamplingDefaults sampling;  // of the grids, and stored in the exported model
  std::string export_dtype = "f32";

  double ema_decay_at(int64_t step) const;
};

// Reads and checks a recipe of kind "dit". Throws bad_input pointing at the line for unknown keys,
// wrong types, values out of range and a batch that does not divide.
Recipe read_recipe(formats::TomlDocument& document);

}  // namespace ditmoe::training
