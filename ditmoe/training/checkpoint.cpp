#include "ditmoe/training/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <vector>

#include "ditmoe/base/json.h"
#include "ditmoe/base/log.h"
#include "ditmoe/formats/checksum.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/folder.h"
#include "ditmoe/formats/safetensors.h"

namespace ditmoe::training {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFiles[] = {
    "model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"};
constexpr const char* kManifest = "manifest.json";
constexpr const char* kPrefix = "step-";

fs::path checkpoints_folder(const std::string& run_folder) {
  return fs::path(run_folder) / "checkpoints";
}

// Finished checkpoints, oldest first. Unfinished ones end in ".tmp" and are not listed.
std::vector<fs::path> list_checkpoints(const std::string& run_folder) {
  std::vector<fs::path> found;
  const fs::path folder = checkpoints_folder(run_folder);
  if (!fs::exists(folder)) return found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kPrefix) && !name.ends_with(".tmp")) found.push_back(entry.path());
  }
  std::ranges::sort(found);
  return found;
}

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

void write_manifest(const fs::path& folder) {
  base::Json files = base::Json::object();
  for (const char* file : kFiles) {
    const formats::Checksum checksum = formats::checksum_of((folder / file).string());
    files[file] = {{"bytes", checksum.bytes}, {"crc32", checksum.crc32}};
  }
  formats::write_text((folder / kManifest).string(), base::Json{{"files", files}}.dump(2) + "\n");
}

// Empty where every file is as the manifest says, else what is wrong.
std::string verify(const fs::path& folder) {
  try {
    const std::string path = (folder / kManifest).string();
    const base::Json manifest = base::parse_json(formats::read_text(path), path);
    for (const char* file : kFiles) {
      const base::Json& expected = manifest.at("files").at(file);
      const formats::Checksum found = formats::checksum_of((folder / file).string());
      if (found.bytes != expected.at("bytes").get<uint64_t>() ||
          found.crc32 != expected.at("crc32").get<uint32_t>()) {
        return fmt::format("{}: size or CRC-32 differs from the manifest", file);
      }
    }
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
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
    out += view.size();
  }
  file.expect_whole();
}

// What the random numbers and the order of the images depend on, by recipe key.
base::Json stream_json(const Recipe& recipe) {
  return {{"train.seed", recipe.seed},
          {"train.batch_size", recipe.batch_size},
          {"train.label_dropout", recipe.label_dropout},
          {"data.kind", recipe.data_kind},
          {"data.limit", recipe.data_limit}};
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

void restore(const fs::path& folder, const Recipe& recipe, TrainState& state) {
  const std::string model_path = (folder / "model.safetensors").string();
  if (networks::ModelFile::open(model_path).config() != recipe.model) {
    base::bad_input(
        "{}: expected the architecture of the recipe, found another; "
        "resume with the recipe it was made with",
        model_path);
  }
  const std::string state_path = (folder / "state.json").string();
  const base::Json json = base::parse_json(formats::read_text(state_path), state_path);
  check_stream(json.value("stream", base::Json::object()), recipe, state_path);
  const auto open = [&](const char* file) {
    return formats::SafetensorsFile::open((folder / file).string());
  };
  read_flat(open("model.safetensors"), "", state.parameters, state.parameters.values());
  read_flat(open("ema.safetensors"), "", state.parameters, state.ema);
  const formats::SafetensorsFile optimiser = open("optimizer.safetensors");
  read_flat(optimiser, "first/", state.parameters, state.optimiser.first);
  read_flat(optimiser, "second/", state.parameters, state.optimiser.second);
  state.steps_done = json.at("steps_done").get<int64_t>();
  state.optimiser.updates = json.at("optimiser_updates").get<int64_t>();
}

}  // namespace

void save_checkpoint(const std::string& run_folder,
                     const Recipe& recipe,
                     const std::vector<std::string>& class_names,
                     const TrainState& state) {
  const fs::path final_name =
      checkpoints_folder(run_folder) / fmt::format("{}{:08}", kPrefix, state.steps_done);
  if (fs::exists(final_name)) return;  // of the same steps, so the same
  const fs::path folder = final_name.string() + ".tmp";
  fs::remove_all(folder);
  fs::create_directories(folder);
  const auto path = [&](const char* file) { return (folder / file).string(); };
  const ParameterSet& parameters = state.parameters;
  save_weights(path("model.safetensors"),
               recipe,
               class_names,
               parameters,
               parameters.values(),
               base::DType::kF32);
  save_weights(
      path("ema.safetensors"), recipe, class_names, parameters, state.ema, base::DType::kF32);
  save_optimiser(path("optimizer.safetensors"), state);
  const base::Json json = {{"steps_done", state.steps_done},
                           {"optimiser_updates", state.optimiser.updates},
                           {"recipe", recipe.name},
                           {"stream", stream_json(recipe)}};
  formats::write_text(path("state.json"), json.dump(2) + "\n");
  write_manifest(folder);
  formats::rename_folder(folder.string(), final_name.string());

  const std::vector<fs::path> all = list_checkpoints(run_folder);
  const auto keep = static_cast<size_t>(recipe.keep_checkpoints);
  for (size_t i = 0; i + keep < all.size(); ++i) fs::remove_all(all[i]);
}

bool restore_newest_checkpoint(const std::string& run_folder,
                               const Recipe& recipe,
                               TrainState& state) {
  const std::vector<fs::path> all = list_checkpoints(run_folder);
  for (auto folder = all.rbegin(); folder != all.rend(); ++folder) {
    const std::string fault = verify(*folder);
    if (fault.empty()) {
      restore(*folder, recipe, state);
      return true;
    }
    const fs::path aside = folder->parent_path() / ("damaged-" + folder->filename().string());
    base::log_warning("{}: set aside as {}: {}", folder->string(), aside.string(), fault);
    fs::remove_all(aside);
    formats::rename_folder(folder->string(), aside.string());
  }
  if (!all.empty()) base::bad_input("{}: every checkpoint is damaged", run_folder);
  return false;
}

void remove_leftovers(const std::string& run_folder) {
  for (const fs::path& folder : {fs::path(run_folder), checkpoints_folder(run_folder)}) {
    if (!fs::exists(folder)) continue;
    std::vector<fs::path> leftovers;
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (name.ends_with(".tmp") || name.find(".tmp.") != std::string::npos) {
        leftovers.push_back(entry.path());
      }
    }
    for (const fs::path& leftover : leftovers) fs::remove_all(leftover);
  }
}

bool has_checkpoints(const std::string& run_folder) {
  return !list_checkpoints(run_folder).empty();
}

void export_model(const std::string& path,
                  const Recipe& recipe,
                  const std::vector<std::string>& class_names,
                  const TrainState& state) {
  const base::DType dtype = recipe.export_dtype == "bf16" ? base::DType::kBF16 : base::DType::kF32;
  save_weights(path, recipe, class_names, state.parameters, state.ema, dtype);
}

}  // namespace ditmoe::training
