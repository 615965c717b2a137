#include "ditmoe/training/vae_files.h"

#include <utility>
#include <vector>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/safetensors.h"

namespace ditmoe::training {
namespace {

void write_vae(const std::string& path,
               const VaeRecipe& recipe,
               const FlatLayout& layout,
               const at::Tensor& values,
               const LatentStatistics& latents,
               base::DType dtype) {
  const formats::NamedTensors tensors = layout.named(values);
  const auto metadata = networks::vae_metadata(settings_of(recipe, latents));
  if (dtype == base::DType::kF32) return formats::write_safetensors(path, tensors, metadata);
  std::vector<base::Tensor> rounded;
  formats::NamedTensors views;
  rounded.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    rounded.push_back(base::convert(tensor, dtype));
    views.emplace_back(name, rounded.back().view());
  }
  formats::write_safetensors(path, views, metadata);
}

void append(formats::NamedTensors& all, formats::NamedTensors more) {
  for (auto& tensor : more) all.push_back(std::move(tensor));
}

formats::NamedTensors moments(const TrainedNetwork& network) {
  formats::NamedTensors tensors = network.layout.named(network.optimiser.first, "first/");
  append(tensors, network.layout.named(network.optimiser.second, "second/"));
  return tensors;
}

void read_moments(const formats::SafetensorsFile& file, TrainedNetwork& network) {
  network.layout.read(file, "first/", network.optimiser.first);
  network.layout.read(file, "second/", network.optimiser.second);
}

// What the numbers of a run depend on, by recipe key.
base::Json stream_json(const VaeRecipe& recipe) {
  return {{"train.seed", recipe.seed},
          {"train.batch_size", recipe.batch_size},
          {"train.part_size", recipe.part_size},
          {"data.kind", recipe.data.kind},
          {"data.limit", recipe.data.limit},
          {"data.flip", recipe.data.flip}};
}

void check_stream(const base::Json& state, const VaeRecipe& recipe, const std::string& path) {
  const base::Json expected = stream_json(recipe);
  for (const auto& [key, value] : expected.items()) {
    const base::Json& saved = state.at("stream").at(key);
    if (saved == value) continue;
    base::bad_input("{}: the run was made with {} = {}, expected the same to resume, found {}",
                    path,
                    key,
                    saved.dump(),
                    value.dump());
  }
}

void restore(const std::string& folder, const VaeRecipe& recipe, VaeState& state) {
  const std::string model_path = folder + "/model.safetensors";
  if (networks::open_vae(model_path)->config() != recipe.model) {
    base::bad_input(
        "{}: expected the autoencoder of the recipe, found another; resume with the recipe it was "
        "made with",
        model_path);
  }
  const std::string state_path = folder + "/state.json";
  const base::Json json = base::parse_json(formats::read_text(state_path), state_path);
  check_stream(json, recipe, state_path);
  if (json.contains("critic_updates") != (state.critic != nullptr)) {
    base::bad_input("{}: expected a run {} a discriminator, as the recipe's, found another",
                    state_path,
                    state.critic ? "with" : "without");
  }
  const auto open = [&](const char* file) {
    return formats::SafetensorsFile::open(folder + "/" + file);
  };
  TrainedNetwork& network = state.network;
  network.layout.read(open("model.safetensors"), "", network.values);
  network.layout.read(open("ema.safetensors"), "", state.ema);
  read_moments(open("optimizer.safetensors"), network);
  network.optimiser.updates = json.at("optimiser_updates").get<int64_t>();
  if (state.critic) {
    const formats::SafetensorsFile critic = open("critic.safetensors");
    state.critic->layout.read(critic, "", state.critic->values);
    read_moments(critic, *state.critic);
    state.critic->optimiser.updates = json.at("critic_updates").get<int64_t>();
  }
  state.steps_done = json.at("steps_done").get<int64_t>();
}

}  // namespace

networks::VaeSettings settings_of(const VaeRecipe& recipe, const LatentStatistics& latents) {
  networks::VaeSettings settings;
  settings.groups = recipe.model.groups;
  settings.shift = latents.mean;
  // Of latents that are all the same: nothing to scale.
  settings.scaling_factor = latents.deviation > 0 ? 1.0 / latents.deviation : 1.0;
  return settings;
}

void save_vae_checkpoint(CheckpointStore& store,
                         const VaeRecipe& recipe,
                         const VaeState& state,
                         const LatentStatistics& latents) {
  const TrainedNetwork& network = state.network;
  store.save(state.steps_done, [&](const std::string& folder) {
    const auto save = [&](const char* file, const at::Tensor& values) {
      write_vae(folder + "/" + file, recipe, network.layout, values, latents, base::DType::kF32);
    };
    save("model.safetensors", network.values);
    save("ema.safetensors", state.ema);
    formats::write_safetensors(folder + "/optimizer.safetensors", moments(network));
    base::Json json = {{"steps_done", state.steps_done},
                       {"optimiser_updates", network.optimiser.updates},
                       {"recipe", recipe.name},
                       {"stream", stream_json(recipe)}};
    if (state.critic) {
      formats::NamedTensors tensors = state.critic->layout.named(state.critic->values);
      append(tensors, moments(*state.critic));
      formats::write_safetensors(folder + "/critic.safetensors", tensors);
      json["critic_updates"] = state.critic->optimiser.updates;
    }
    formats::write_text(folder + "/state.json", json.dump(2) + "\n");
  });
}

bool restore_vae_checkpoint(CheckpointStore& store, const VaeRecipe& recipe, VaeState& state) {
  const auto folder = store.newest();
  if (folder) restore(*folder, recipe, state);
  return folder.has_value();
}

void export_vae(const std::string& path,
                const VaeRecipe& recipe,
                const VaeState& state,
                const LatentStatistics& latents) {
  const base::DType dtype = recipe.export_dtype == "bf16" ? base::DType::kBF16 : base::DType::kF32;
  write_vae(path, recipe, state.network.layout, state.ema, latents, dtype);
}

}  // namespace ditmoe::training
