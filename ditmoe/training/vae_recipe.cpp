#include "ditmoe/training/vae_recipe.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ditmoe/base/error.h"

namespace ditmoe::training {
namespace {

void read_model(formats::TomlDocument& document, VaeRecipe& recipe) {
  networks::VaeConfig& model = recipe.model;
  std::vector<int64_t> multipliers = {1, 2, 4};
  model.channels = 32;
  model.num_res_blocks = 1;
  model.groups = 8;
  document.get("model.image_size", recipe.image_size);
  document.get("model.channels", model.image_channels);
  document.get("model.base_width", model.channels);
  document.get("model.multipliers", multipliers);
  document.get("model.res_blocks", model.num_res_blocks);
  document.get("model.latent_channels", model.latent_channels);
  document.get("model.quant_conv", model.quant_conv);
  document.get("model.middle_attention", model.middle_attention);
  document.get("model.groups", model.groups);
  model.z_channels = model.latent_channels;
  model.widths.clear();
  for (const int64_t multiplier : multipliers) {
    if (multiplier < 1 || multiplier > 1024) {
      base::bad_input("{}: expected numbers from 1 to 1024, found {}",
                      document.where("model.multipliers"),
                      multiplier);
    }
    model.widths.push_back(model.channels * multiplier);
  }
  model.level_attention.assign(model.widths.size(), false);
}

void read_data(formats::TomlDocument& document, VaeRecipe& recipe) {
  const auto read = [&](const std::string& table, data::DataSettings& settings) {
    read_data_settings(document, table, settings);
    settings.image_size = recipe.image_size;
    settings.channels = recipe.model.image_channels;
  };
  read("data", recipe.data);
  document.get("data.workers", recipe.workers);
  if (!document.contains("held_out.folder") && !document.contains("held_out.kind")) return;
  recipe.held_out.emplace().kind = recipe.data.kind;
  read("held_out", *recipe.held_out);
  document.get("held_out.images", recipe.held_out_images);
}

void read_word(formats::TomlDocument& document,
               const std::string& key,
               const std::string& first,
               const std::string& second,
               std::string& word) {
  document.get(key, word);
  if (word == first || word == second) return;
  base::bad_input(
      "{}: expected \"{}\" or \"{}\", found \"{}\"", document.where(key), first, second, word);
}

void read_training(formats::TomlDocument& document, VaeRecipe& recipe) {
  document.get("train.steps", recipe.steps);
  document.get("train.batch_size", recipe.batch_size);
  document.get("train.part_size", recipe.part_size);
  document.get("train.lr", recipe.rate.peak);
  std::string schedule = "cosine";
  read_word(document, "train.lr_schedule", "constant", "cosine", schedule);
  recipe.rate.cosine = schedule == "cosine";
  document.get("train.warmup_steps", recipe.rate.warmup_steps);
  document.get("train.decay_start", recipe.rate.decay_start);
  document.get("train.final_lr", recipe.rate.final_lr);
  document.get("train.beta1", recipe.adamw.beta1);
  document.get("train.beta2", recipe.adamw.beta2);
  document.get("train.weight_decay", recipe.adamw.weight_decay);
  document.get("train.ema_decay", recipe.ema_decay);
  document.get("train.ema_warmup", recipe.ema_warmup);
  document.get("train.clip_norm", recipe.clip_norm);
  document.get("train.l1_weight", recipe.l1_weight);
  document.get("train.kl_weight", recipe.kl_weight);
  std::string precision = "f32";
  read_word(document, "train.precision", "f32", "bf16", precision);
  recipe.precision = kernels::precision_from(precision, "train.precision");
  auto seed = static_cast<int64_t>(recipe.seed);
  document.get("train.seed", seed);
  recipe.seed = static_cast<uint64_t>(seed);
  document.get("discriminator.weight", recipe.discriminator.weight);
  document.get("discriminator.start", recipe.discriminator.start);
  document.get("discriminator.width", recipe.discriminator.width);
  document.get("discriminator.lr", recipe.discriminator.lr);
}

void read_output(formats::TomlDocument& document, VaeRecipe& recipe) {
  document.get("latents.images", recipe.latent_images);
  document.get("output.log_every", recipe.log_every);
  document.get("output.checkpoint_every", recipe.checkpoint_every);
  document.get("output.keep_checkpoints", recipe.keep_checkpoints);
  document.get("output.sample_every", recipe.sample_every);
  document.get("output.sample_images", recipe.sample_images);
  read_word(document, "output.export_dtype", "f32", "bf16", recipe.export_dtype);
}

void check_ranges(const formats::TomlDocument& document, const VaeRecipe& recipe) {
  const auto at_least = [&](const char* key, int64_t value, int64_t least) {
    if (value >= least) return;
    base::bad_input("{}: expected at least {}, found {}", document.where(key), least, value);
  };
  const auto not_negative = [&](const char* key, double value) {
    if (std::isfinite(value) && value >= 0) return;
    base::bad_input(
        "{}: expected a finite number, not negative, found {}", document.where(key), value);
  };
  const auto fraction = [&](const char* key, double value) {
    if (value >= 0 && value < 1) return;
    base::bad_input("{}: expected a number in [0, 1), found {}", document.where(key), value);
  };
  at_least("data.workers", recipe.workers, 0);
  at_least("held_out.images", recipe.held_out_images, 1);
  at_least("train.steps", recipe.steps, 1);
  at_least("train.batch_size", recipe.batch_size, 1);
  at_least("train.part_size", recipe.part_size, 1);
  at_least("train.warmup_steps", recipe.rate.warmup_steps, 0);
  at_least("train.decay_start", recipe.rate.decay_start, 0);
  at_least("discriminator.start", recipe.discriminator.start, 0);
  at_least("discriminator.width", recipe.discriminator.width, 1);
  at_least("latents.images", recipe.latent_images, 1);
  at_least("output.log_every", recipe.log_every, 1);
  at_least("output.checkpoint_every", recipe.checkpoint_every, 1);
  at_least("output.keep_checkpoints", recipe.keep_checkpoints, 1);
  at_least("output.sample_every", recipe.sample_every, 0);
  at_least("output.sample_images", recipe.sample_images, 1);
  not_negative("train.lr", recipe.rate.peak);
  not_negative("train.final_lr", recipe.rate.final_lr);
  not_negative("train.weight_decay", recipe.adamw.weight_decay);
  not_negative("train.clip_norm", recipe.clip_norm);
  not_negative("train.l1_weight", recipe.l1_weight);
  not_negative("train.kl_weight", recipe.kl_weight);
  not_negative("discriminator.weight", recipe.discriminator.weight);
  not_negative("discriminator.lr", recipe.discriminator.lr);
  fraction("train.beta1", recipe.adamw.beta1);
  fraction("train.beta2", recipe.adamw.beta2);
  fraction("train.ema_decay", recipe.ema_decay);
}

void check_image_size(const formats::TomlDocument& document, const VaeRecipe& recipe) {
  const int64_t factor = recipe.model.factor();
  if (recipe.image_size < factor || recipe.image_size % factor != 0) {
    base::bad_input("{}: expected a multiple of {}, the pixels of a latent, found {}",
                    document.where("model.image_size"),
                    factor,
                    recipe.image_size);
  }
}

}  // namespace

double VaeRecipe::ema_decay_at(int64_t step) const {
  if (!ema_warmup) return ema_decay;
  const auto n = static_cast<double>(step);
  return std::min(ema_decay, (1.0 + n) / (10.0 + n));
}

VaeRecipe read_vae_recipe(formats::TomlDocument& document) {
  VaeRecipe recipe;
  std::string kind;
  document.get("kind", kind);
  document.get("name", recipe.name);
  read_model(document, recipe);
  read_data(document, recipe);
  read_training(document, recipe);
  read_output(document, recipe);
  document.finish();
  check_ranges(document, recipe);
  recipe.model.validate(document.where("model"));
  check_image_size(document, recipe);
  return recipe;
}

}  // namespace ditmoe::training
