#include "ditmoe/training/recipe_checks.h"

#include <cmath>

#include "ditmoe/base/error.h"
#include "ditmoe/data/training_stream.h"
#include "ditmoe/diffusion/sampler.h"

namespace ditmoe::training {
namespace {

constexpr int64_t kMost = int64_t{1} << 40;        // steps and the like: beyond it is a mistake
constexpr int64_t kMostImages = int64_t{1} << 24;  // of a batch

void expect(const formats::TomlDocument& document,
            bool condition,
            const std::string& key,
            const std::string& expected,
            double found) {
  if (!condition)
    base::bad_input("{}: expected {}, found {}", document.where(key), expected, found);
}

void check_ranges(const formats::TomlDocument& document, const Recipe& recipe) {
  const auto between = [&](const std::string& key, int64_t value, int64_t least, int64_t most) {
    if (value < least || value > most) {
      base::bad_input("{}: expected {} to {}, found {}", document.where(key), least, most, value);
    }
  };
  const auto fraction = [&](const std::string& key, double value) {
    expect(document, value >= 0.0 && value < 1.0, key, "a number in [0, 1)", value);
  };
  const auto not_negative = [&](const std::string& key, double value) {
    const bool good = std::isfinite(value) && value >= 0.0;
    expect(document, good, key, "a finite number, not negative", value);
  };
  between("train.steps", recipe.steps, 1, kMost);
  between("train.batch_size", recipe.batch_size, 1, kMostImages);
  between("train.accumulation", recipe.accumulation, 1, kMost);
  between("train.warmup_steps", recipe.rate.warmup_steps, 0, kMost);
  between("train.decay_start", recipe.rate.decay_start, 0, kMost);
  between("output.log_every", recipe.log_every, 1, kMost);
  between("output.checkpoint_every", recipe.checkpoint_every, 1, kMost);
  between("output.keep_checkpoints", recipe.keep_checkpoints, 1, kMost);
  between("output.sample_every", recipe.sample_every, 0, kMost);
  between("output.samples_per_class", recipe.samples_per_class, 1, 1024);
  between("train.most_faults", recipe.faults.most, 1, kMost);
  between("data.workers", recipe.workers, 0, 256);
  between("held_out.images", recipe.held_out_images, 1, kMostImages);
  not_negative("train.router_bias_rate", recipe.router_bias_rate);
  not_negative("train.spike", recipe.faults.spike);
  not_negative("train.lr", recipe.rate.peak);
  not_negative("train.final_lr", recipe.rate.final_lr);
  not_negative("train.weight_decay", recipe.adamw.weight_decay);
  not_negative("train.clip_norm", recipe.clip_norm);
  not_negative("output.cfg", recipe.sampling.cfg);
  fraction("train.beta1", recipe.adamw.beta1);
  fraction("train.beta2", recipe.adamw.beta2);
  fraction("train.ema_decay", recipe.ema_decay);
  fraction("train.label_dropout", recipe.label_dropout);
  if (recipe.batch_size % recipe.accumulation != 0) {
    base::bad_input("{}: expected a multiple of train.accumulation = {}, found {}",
                    document.where("train.batch_size"),
                    recipe.accumulation,
                    recipe.batch_size);
  }
}

// The sampler exists, has that many steps and is for what the network predicts.
void check_sampler(const formats::TomlDocument& document, const Recipe& recipe) {
  const bool flow = recipe.model.objective == networks::Objective::kRectifiedFlow;
  const std::string where = document.where("output.sampler");
  try {
    diffusion::make_sampler(recipe.sampling.sampler, recipe.sampling.steps);
  } catch (const base::Error& error) {
    base::bad_input("{}: {}", where, error.what());
  }
  for (const diffusion::SamplerInfo& info : diffusion::known_samplers()) {
    if (info.name == recipe.sampling.sampler && info.rectified_flow != flow) {
      base::bad_input("{}: expected a sampler for objective {}, found \"{}\"",
                      where,
                      networks::to_word(recipe.model.objective),
                      recipe.sampling.sampler);
    }
  }
}

void check_words(const formats::TomlDocument& document, const Recipe& recipe) {
  if (recipe.export_dtype != "f32" && recipe.export_dtype != "bf16") {
    base::bad_input("{}: expected \"f32\" or \"bf16\", found \"{}\"",
                    document.where("output.export_dtype"),
                    recipe.export_dtype);
  }
  if (recipe.sampling.cfg_channels != "3" && recipe.sampling.cfg_channels != "all") {
    base::bad_input("{}: expected \"3\" or \"all\", found \"{}\"",
                    document.where("output.cfg_channels"),
                    recipe.sampling.cfg_channels);
  }
  check_sampler(document, recipe);
}

// Keys of one data set; sizes are the model's.
std::string place_of(const formats::TomlDocument& document,
                     const std::string& table,
                     const std::string& key) {
  const bool is_model = key == "image_size" || key == "channels" || key == "num_classes";
  return document.where((is_model ? "model" : table) + "." + key);
}

}  // namespace

void check_recipe(const formats::TomlDocument& document, const Recipe& recipe) {
  check_ranges(document, recipe);
  check_words(document, recipe);
  recipe.model.validate(document.where("model"));
  data::check_mixture(recipe.data, [&](size_t part, const std::string& key) {
    return place_of(document, recipe.data_keys[part], key);
  });
  if (recipe.held_out) {
    data::check_settings(*recipe.held_out, [&](const std::string& key) {
      return place_of(document, "held_out", key);
    });
  }
}

}  // namespace ditmoe::training
