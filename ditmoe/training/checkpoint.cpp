#include "ditmoe/training/checkpoint.h"

#include <cstring>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/networks/model_file.h"

namespace ditmoe::training {
namespace {

void save_weights(const std::string& path,
                  const Recipe& recipe,
                  const std::vector<std::string>& class_names,
                  const ParameterSet& parameters,
                  const at::Tensor& flat,
                  base::DType dtype) {
  networks::save_model(
      path, recipe.model, parameters.named(flat, true), class_names, recipe.sampling, dtype);
}

void save_optimiser(const std::string& path, const TrainState& state) {
  formats::NamedTensors tensors;
  for (auto& [name, view] : state.parameters.named(state.optimiser.first, false)) {
    tensors.emplace_back("first/" + name, view);
  }
  for (auto& [name, view] : state.parameters.named(state.optimiser.second, false)) {
    tensors.emplace_back("second/" + name, view);
  }
  formats::write_safetensors(path, tensors);
}

void read_flat(const formats::SafetensorsFile& file,
               const std::string& prefix,
               const ParameterSet& parameters,
               at::Tensor& flat) {
  float* out = flat.data_ptr<float>();
  for (const networks::TensorSpec& spec : parameters.specs()) {
    const base::TensorView view = file.view(prefix + spec.name);
    if (view.dtype != base::DType::kF32 || view.shape != spec.shape) {
      base::bad_input("{}: tensor {}{}: expected F32 {}, found {} {}",
                      file.path(),
                      prefix,
                      spec.name,
                      base::to_string(spec.shape),
                      base::name_of(view.dtype),
                      base::to_string(view.shape));
    }
    std::memcpy(out, view.data, view.bytes());
    file.release({view.data, view.bytes()});
    out += view.size();
  }
  file.expect_whole();
}

// What the random numbers and the order of the images depend on, by recipe key.
base::Json stream_json(const Recipe& recipe) {
  base::Json json = {{"train.seed", recipe.seed},
                     {"train.batch_size", recipe.batch_size},
                     {"train.label_dropout", recipe.label_dropout}};
  for (size_t i = 0; i < recipe.data.size(); ++i) {
    const data::DataSettings& part = recipe.data[i];
    const auto set = [&](const char* key, const base::Json& value) {
      json[recipe.data_keys[i] + "." + key] = value;
    };
    set("kind", part.kind);
    set("limit", part.limit);
    set("flip", part.flip);
    if (recipe.data.size() > 1) set("weight", part.weight);
  }
  return json;
}

// Keys that the checkpoint does not have are taken as equal.
void check_stream(const base::Json& saved, const Recipe& recipe, const std::string& path) {
  const base::Json expected = stream_json(recipe);
  for (const auto& [key, value] : expected.items()) {
    if (saved.contains(key) && saved[key] != value) {
      base::bad_input("{}: the run was made with {} = {}, expected the same to resume, found {}",
                      path,
                      key,
                      saved[key].dump(),
                      value.dump());
    }
  }
}

}  // namespace

int64_t checkpoint_bytes(const TrainState& state) {
  constexpr int64_t kBuffers = 4;  // weights, their average and two moments
  constexpr int64_t kHeaders = 1 << 20;
  return kBuffers * state.parameters.values().numel() * int64_t{sizeof(float)} + kHeaders;
}

void save_state(const std::string& folder,
                const Recipe& recipe,
                const std::vector<std::string>& class_names,
                const TrainState& state) {
  const ParameterSet& parameters = state.parameters;
  const auto save = [&](const char* file, const at::Tensor& flat) {
    save_weights(folder + "/" + file, recipe, class_names, parameters, flat, base::DType::kF32);
  };
  save("model.safetensors", parameters.values());
  save("ema.safetensors", state.ema);
  save_optimiser(folder + "/optimizer.safetensors", state);
  const base::Json json = {{"steps_done", state.steps_done},
                           {"optimiser_updates", state.optimiser.updates},
                           {"skipped_samples", state.skipped_samples},
                           {"losses", state.losses},
                           {"recipe", recipe.name},
                           {"stream", stream_json(recipe)}};
  formats::write_text(folder + "/state.json", json.dump(2) + "\n");
}

void restore_state(const std::string& folder, const Recipe& recipe, TrainState& state) {
  const std::string model_path = folder + "/model.safetensors";
  if (networks::ModelFile::open(model_path).config() != recipe.model) {
    base::bad_input(
        "{}: expected the architecture of the recipe, found another; "
        "resume with the recipe it was made with",
        model_path);
  }
  const std::string state_path = folder + "/state.json";
  const base::Json json = base::parse_json(formats::read_text(state_path), state_path);
  check_stream(json.value("stream", base::Json::object()), recipe, state_path);
  const auto open = [&](const char* file) {
    return formats::SafetensorsFile::open(folder + "/" + file);
  };
  read_flat(open("model.safetensors"), "", state.parameters, state.parameters.values());
  state.parameters.refresh_half();
  read_flat(open("ema.safetensors"), "", state.parameters, state.ema);
  const formats::SafetensorsFile optimiser = open("optimizer.safetensors");
  read_flat(optimiser, "first/", state.parameters, state.optimiser.first);
  read_flat(optimiser, "second/", state.parameters, state.optimiser.second);
  state.steps_done = json.at("steps_done").get<int64_t>();
  state.optimiser.updates = json.at("optimiser_updates").get<int64_t>();
  state.skipped_samples = json.value("skipped_samples", int64_t{0});
  state.losses = json.value("losses", std::vector<double>());
}

void export_model(const std::string& path,
                  const Recipe& recipe,
                  const std::vector<std::string>& class_names,
                  const TrainState& state) {
  const base::DType dtype = recipe.export_dtype == "bf16" ? base::DType::kBF16 : base::DType::kF32;
  save_weights(path, recipe, class_names, state.parameters, state.ema, dtype);
}

}  // namespace ditmoe::training
