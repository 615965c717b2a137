#include "ditmoe/training/recipe.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ditmoe/base/error.h"
#include "ditmoe/diffusion/sampler.h"

namespace ditmoe::training {
namespace {

void read_model(formats::TomlDocument& document, networks::DitConfig& model) {
  document.get("model.image_size", model.image_size);
  document.get("model.patch_size", model.patch_size);
  document.get("model.channels", model.channels);
  document.get("model.width", model.width);
  document.get("model.depth", model.depth);
  document.get("model.heads", model.heads);
  document.get("model.num_classes", model.num_classes);
  document.get("model.experts", model.experts);
  document.get("model.top_k", model.top_k);
  document.get("model.shared_experts", model.shared_experts);
  document.get("model.expert_width", model.expert_width);
  document.get("model.time_experts", model.time_experts);
  document.get("model.time_top_k", model.time_top_k);
  document.get("model.qk_norm", model.qk_norm);
  document.get("model.learn_sigma", model.learn_sigma);
  document.get("model.balance_factor", model.balance_factor);
  std::string word;
  const auto read_word = [&](const std::string& key) {
    word.clear();
    document.get(key, word);
    return !word.empty();
  };
  if (read_word("model.feed_forward")) {
    model.feed_forward = networks::feed_forward_from(word, document.where("model.feed_forward"));
  }
  if (read_word("model.moe_placement")) {
    model.moe_placement = networks::moe_placement_from(word, document.where("model.moe_placement"));
  }
  if (read_word("model.objective")) {
    model.objective = networks::objective_from(word, document.where("model.objective"));
  }
  if (read_word("model.balance_pool")) {
    model.balance_pool = networks::balance_pool_from(word, document.where("model.balance_pool"));
  }
}

void read_training(formats::TomlDocument& document, Recipe& recipe) {
  document.get("train.steps", recipe.steps);
  document.get("train.batch_size", recipe.batch_size);
  document.get("train.accumulation", recipe.accumulation);
  document.get("train.lr", recipe.rate.peak);
  std::string schedule = "constant";
  document.get("train.lr_schedule", schedule);
  if (schedule != "constant" && schedule != "cosine") {
    base::bad_input("{}: expected \"constant\" or \"cosine\", found \"{}\"",
                    document.where("train.lr_schedule"),
                    schedule);
  }
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
  document.get("train.label_dropout", recipe.label_dropout);
  auto seed = static_cast<int64_t>(recipe.seed);
  document.get("train.seed", seed);
  recipe.seed = static_cast<uint64_t>(seed);
}

void read_output(formats::TomlDocument& document, Recipe& recipe) {
  document.get("output.log_every", recipe.log_every);
  document.get("output.checkpoint_every", recipe.checkpoint_every);
  document.get("output.keep_checkpoints", recipe.keep_checkpoints);
  document.get("output.sample_every", recipe.sample_every);
  document.get("output.samples_per_class", recipe.samples_per_class);
  document.get("output.export_dtype", recipe.export_dtype);
  const bool flow = recipe.model.objective == networks::Objective::kRectifiedFlow;
  recipe.sampling = flow ? networks::SamplingDefaults{"euler", 50, 1.0, "all"}
                         : networks::SamplingDefaults{"ddim", 50, 1.0, "3"};
  document.get("output.sampler", recipe.sampling.sampler);
  document.get("output.sampler_steps", recipe.sampling.steps);
  document.get("output.cfg", recipe.sampling.cfg);
  document.get("output.cfg_channels", recipe.sampling.cfg_channels);
}

void expect(const formats::TomlDocument& document,
            bool condition,
            const std::string& key,
            const std::string& expected,
            double found) {
  if (!condition)
    base::bad_input("{}: expected {}, found {}", document.where(key), expected, found);
}

void check_ranges(const formats::TomlDocument& document, const Recipe& recipe) {
  const auto at_least = [&](const std::string& key, int64_t value, int64_t least) {
    const std::string expected = fmt::format("at least {}", least);
    expect(document, value >= least, key, expected, static_cast<double>(value));
  };
  const auto fraction = [&](const std::string& key, double value) {
    expect(document, value >= 0.0 && value < 1.0, key, "a number in [0, 1)", value);
  };
  const auto not_negative = [&](const std::string& key, double value) {
    const bool good = std::isfinite(value) && value >= 0.0;
    expect(document, good, key, "a finite number, not negative", value);
  };
  at_least("train.steps", recipe.steps, 1);
  at_least("train.batch_size", recipe.batch_size, 1);
  at_least("train.accumulation", recipe.accumulation, 1);
  at_least("train.warmup_steps", recipe.rate.warmup_steps, 0);
  at_least("train.decay_start", recipe.rate.decay_start, 0);
  at_least("output.log_every", recipe.log_every, 1);
  at_least("output.checkpoint_every", recipe.checkpoint_every, 1);
  at_least("output.keep_checkpoints", recipe.keep_checkpoints, 1);
  at_least("output.sample_every", recipe.sample_every, 0);
  at_least("output.samples_per_class", recipe.samples_per_class, 1);
  at_least("data.limit", recipe.data_limit, 0);
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
  if (recipe.data_kind != "fashion_mnist") {
    base::bad_input("{}: expected \"fashion_mnist\", found \"{}\"",
                    document.where("data.kind"),
                    recipe.data_kind);
  }
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

}  // namespace

double RateSchedule::at(int64_t step, int64_t steps) const {
  if (step < warmup_steps) {
    return peak * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  }
  const int64_t start = std::max(decay_start, warmup_steps);
  if (!cosine || step < start) return peak;
  const double progress = static_cast<double>(step - start) / static_cast<double>(steps - start);
  return final_lr + (peak - final_lr) * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
}

double Recipe::ema_decay_at(int64_t step) const {
  if (!ema_warmup) return ema_decay;
  const auto n = static_cast<double>(step);
  return std::min(ema_decay, (1.0 + n) / (10.0 + n));
}

Recipe read_recipe(formats::TomlDocument& document) {
  Recipe recipe;
  std::string kind = "dit";
  document.get("kind", kind);
  document.get("name", recipe.name);
  read_model(document, recipe.model);
  document.get("data.kind", recipe.data_kind);
  document.get("data.folder", recipe.data_folder);
  document.get("data.limit", recipe.data_limit);
  read_training(document, recipe);
  read_output(document, recipe);
  document.finish();
  check_ranges(document, recipe);
  check_words(document, recipe);
  recipe.model.validate(document.where("model"));
  return recipe;
}

}  // namespace ditmoe::training
