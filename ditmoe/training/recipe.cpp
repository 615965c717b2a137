#include "ditmoe/training/recipe.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ditmoe/base/error.h"
#include "ditmoe/training/recipe_checks.h"

namespace ditmoe::training {
namespace {

void read_model(formats::TomlDocument& document, networks::DitConfig& model) {
  std::string preset;
  document.get("model.preset", preset);
  if (!preset.empty()) {
    try {
      model = networks::preset(preset);
    } catch (const base::Error& error) {
      base::bad_input("{}: {}", document.where("model.preset"), error.what());
    }
  }
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
  document.get("model.renormalise", model.renormalise);
  document.get("model.router_bias", model.router_bias);
  if (read_word("model.router_score")) {
    model.router_score = networks::router_score_from(word, document.where("model.router_score"));
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
  document.get("train.router_bias_rate", recipe.router_bias_rate);
  document.get("train.recompute", recipe.recompute);
  document.get("train.init_from", recipe.init_from);
  std::string precision(kernels::to_word(recipe.precision));
  document.get("train.precision", precision);
  if (precision != "f32" && precision != "bf16") {
    base::bad_input("{}: expected \"f32\" or \"bf16\", found \"{}\"",
                    document.where("train.precision"),
                    precision);
  }
  recipe.precision = kernels::precision_from(precision, "train.precision");
  auto seed = static_cast<int64_t>(recipe.seed);
  document.get("train.seed", seed);
  recipe.seed = static_cast<uint64_t>(seed);
}

void read_faults(formats::TomlDocument& document, FaultSettings& faults) {
  std::string word(to_word(faults.policy));
  document.get("train.on_fault", word);
  for (const FaultPolicy policy :
       {FaultPolicy::kStop, FaultPolicy::kSkip, FaultPolicy::kRollback}) {
    if (word == to_word(policy)) faults.policy = policy;
  }
  if (word != to_word(faults.policy)) {
    base::bad_input("{}: expected \"stop\", \"skip\" or \"rollback\", found \"{}\"",
                    document.where("train.on_fault"),
                    word);
  }
  document.get("train.spike", faults.spike);
  document.get("train.most_faults", faults.most);
}

// Sizes that the network's own decide.
data::DataSettings data_settings(formats::TomlDocument& document,
                                 const std::string& table,
                                 const networks::DitConfig& model) {
  data::DataSettings settings;
  read_data_settings(document, table, settings);
  settings.image_size = model.image_size;
  settings.channels = model.channels;
  settings.num_classes = model.num_classes;
  return settings;
}

void read_data(formats::TomlDocument& document, Recipe& recipe) {
  std::vector<std::string> parts;
  document.get("data.mixture", parts);
  for (const std::string& part : parts) recipe.data_keys.push_back("data." + part);
  if (parts.empty()) recipe.data_keys = {"data"};
  for (const std::string& table : recipe.data_keys) {
    recipe.data.push_back(data_settings(document, table, recipe.model));
  }
  document.get("data.workers", recipe.workers);
  if (document.contains("held_out.kind")) {
    recipe.held_out = data_settings(document, "held_out", recipe.model);
    document.get("held_out.images", recipe.held_out_images);
  }
}

void read_output(formats::TomlDocument& document, Recipe& recipe) {
  document.get("output.log_every", recipe.log_every);
  document.get("output.checkpoint_every", recipe.checkpoint_every);
  document.get("output.keep_checkpoints", recipe.keep_checkpoints);
  document.get("output.sample_every", recipe.sample_every);
  document.get("output.samples_per_class", recipe.samples_per_class);
  document.get("output.export_dtype", recipe.export_dtype);
  document.get("output.vae", recipe.vae);
  const bool flow = recipe.model.objective == networks::Objective::kRectifiedFlow;
  recipe.sampling = flow ? networks::SamplingDefaults{"euler", 50, 1.0, "all"}
                         : networks::SamplingDefaults{"ddim", 50, 1.0, "3"};
  document.get("output.sampler", recipe.sampling.sampler);
  document.get("output.sampler_steps", recipe.sampling.steps);
  document.get("output.cfg", recipe.sampling.cfg);
  document.get("output.cfg_channels", recipe.sampling.cfg_channels);
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
  read_training(document, recipe);
  read_faults(document, recipe.faults);
  read_data(document, recipe);
  read_output(document, recipe);
  document.finish();
  check_recipe(document, recipe);
  return recipe;
}

void read_data_settings(formats::TomlDocument& document,
                        const std::string& table,
                        data::DataSettings& settings) {
  document.get(table + ".kind", settings.kind);
  document.get(table + ".folder", settings.folder);
  document.get(table + ".file", settings.file);
  document.get(table + ".labels", settings.labels);
  document.get(table + ".class_names", settings.class_names);
  document.get(table + ".split", settings.split);
  document.get(table + ".limit", settings.limit);
  document.get(table + ".weight", settings.weight);
  document.get(table + ".flip", settings.flip);
}

std::string_view to_word(FaultPolicy policy) {
  switch (policy) {
    case FaultPolicy::kStop:
      return "stop";
    case FaultPolicy::kSkip:
      return "skip";
    case FaultPolicy::kRollback:
      return "rollback";
  }
  DITMOE_ASSERT(false);
}

}  // namespace ditmoe::training
