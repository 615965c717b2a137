#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ditmoe/data/open_dataset.h"
#include "ditmoe/formats/toml.h"
#include "ditmoe/kernels/precision.h"
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

// What is done about a step whose loss or gradient is not finite, or whose loss leaps.
enum class FaultPolicy {
  kStop,      // end the run; the weights are as before the step
  kSkip,      // leave the step's update out
  kRollback,  // go back to the last checkpoint and on behind the step's images
};

struct FaultSettings {
  FaultPolicy policy = FaultPolicy::kStop;
  // A loss that many median absolute deviations above the median of the last 128 is a fault too; 0
  // is off.
  double spike = 0;
  int64_t most = 10;  // so many faults without a checkpoint in between end the run
};

// One complete training run, as a recipe file describes it. Defaults are the paper's where it has
// any.
struct Recipe {
  std::string name;
  networks::DitConfig model;

  std::vector<data::DataSettings> data;  // one data set, or the parts of a mixture
  std::vector<std::string> data_keys;    // the table of each: "data", or "data.real" of a mixture
  int64_t workers = 1;                   // threads that prepare batches; 0: none beside the trainer

  // Images to measure the loss on with each checkpoint, if any.
  std::optional<data::DataSettings> held_out;
  int64_t held_out_images = 512;

  std::string init_from;  // a model file whose weights the run begins with; empty: random ones

  int64_t steps = 0;
  int64_t batch_size = 256;  // images per update
  int64_t accumulation = 1;  // micro-batches per update
  RateSchedule rate;
  AdamwSettings adamw;
  double ema_decay = 0.9999;
  bool ema_warmup = false;  // decay at step n is min(ema_decay, (1 + n)/(10 + n))
  double clip_norm = 0.0;   // global gradient norm; 0 is off
  double label_dropout = 0.1;
  double router_bias_rate = 1e-3;  // what a router's bias moves by in a step
  kernels::Precision precision = kernels::Precision::kF32;
  bool recompute = false;  // see ModuleOptions
  FaultSettings faults;
  uint64_t seed = 0;

  int64_t log_every = 50;
  int64_t checkpoint_every = 1000;
  int64_t keep_checkpoints = 2;
  int64_t sample_every = 0;  // 0: no sample grids
  int64_t samples_per_class = 4;
  networks::SamplingDefaults sampling;  // of the grids, and stored in the exported model
  std::string export_dtype = "f32";
  std::string vae;  // decodes the latents of sample grids; empty: they are shown as they are

  double ema_decay_at(int64_t step) const;
};

// Reads and checks a recipe of kind "dit". Throws bad_input pointing at the line for unknown keys,
// wrong types, values out of range and a batch that does not divide.
Recipe read_recipe(formats::TomlDocument& document);

// Keys of one data set, the members of DataSettings that a recipe sets, below `table`.
void read_data_settings(formats::TomlDocument& document,
                        const std::string& table,
                        data::DataSettings& settings);

// "stop", "skip", "rollback".
std::string_view to_word(FaultPolicy policy);

}  // namespace ditmoe::training
