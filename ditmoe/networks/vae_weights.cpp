#include "ditmoe/networks/vae_weights.h"

#include <cmath>
#include <filesystem>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/tensor_file.h"
#include "ditmoe/networks/vae_names.h"

namespace ditmoe::networks {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWeightsName = "diffusion_pytorch_model";
constexpr const char* kConfigName = "config.json";
constexpr const char* kMetadataKey = "ditmoe.autoencoder";

void read_number(const base::Json& json, const std::string& path, const char* key, double& value) {
  if (!json.contains(key) || json.at(key).is_null()) return;
  if (!json.at(key).is_number()) {
    base::bad_input("{}: {}: expected a number, found {}", path, key, json.at(key).type_name());
  }
  value = json.at(key).get<double>();
}

// text: JSON as in diffusers' config.json; path: where it stands.
VaeSettings read_settings(const std::string& text, const std::string& path) {
  const base::Json json = base::parse_json(text, path);
  if (!json.is_object())
    base::bad_input("{}: expected an object, found {}", path, json.type_name());
  if (json.contains("_class_name") && json.at("_class_name") != "AutoencoderKL") {
    base::bad_input("{}: _class_name: expected AutoencoderKL, found {}",
                    path,
                    json.at("_class_name").dump().substr(0, 60));
  }
  VaeSettings settings;
  auto groups = static_cast<double>(settings.groups);
  read_number(json, path, "norm_num_groups", groups);
  read_number(json, path, "scaling_factor", settings.scaling_factor);
  read_number(json, path, "shift_factor", settings.shift);
  if (!(groups >= 1 && groups <= 1024 && groups == std::floor(groups))) {
    base::bad_input(
        "{}: norm_num_groups: expected a whole number from 1 to 1024, found {}", path, groups);
  }
  if (!(settings.scaling_factor > 0 && std::isfinite(settings.scaling_factor))) {
    base::bad_input(
        "{}: scaling_factor: expected a number above 0, found {}", path, settings.scaling_factor);
  }
  if (!std::isfinite(settings.shift)) {
    base::bad_input("{}: shift_factor: expected a number, found {}", path, settings.shift);
  }
  settings.groups = static_cast<int64_t>(groups);
  return settings;
}

// Where an autoencoder's files are.
struct Located {
  std::string weights;
  std::string config;  // of diffusers; empty where there is none
};

bool folder_exists(const fs::path& path) {
  std::error_code error;  // what cannot be looked at is for the reader to report
  return fs::is_directory(path, error);
}

Located locate(const std::string& path) {
  fs::path weights = path;
  // The folder of a whole pipeline holds the autoencoder's as vae/.
  if (folder_exists(weights / "vae")) weights /= "vae";
  const bool is_folder = folder_exists(weights);
  const fs::path config = (is_folder ? weights : weights.parent_path()) / kConfigName;
  const bool is_diffusers = is_folder || weights.filename().string().starts_with(kWeightsName);
  std::error_code error;
  const bool has_config = is_diffusers && fs::exists(config, error);
  return {weights.string(), has_config ? config.string() : ""};
}

// Both spellings call the first convolution of the encoder by this name, alone or in a whole
// checkpoint of latent diffusion.
bool holds_vae(const formats::TensorFile& file) {
  return file.contains("encoder.conv_in.weight") ||
         file.contains("first_stage_model.encoder.conv_in.weight");
}

class FileVae final : public VaeWeights {
 public:
  FileVae(std::shared_ptr<const formats::TensorFile> file, const Located& located)
      : file_(std::move(file)) {
    const auto own = file_->metadata().find(kMetadataKey);
    if (own != file_->metadata().end()) {
      settings_ = read_settings(own->second, located.weights + ": " + kMetadataKey);
    } else if (!located.config.empty()) {
      settings_ = read_settings(formats::read_text(located.config), located.config);
    }
    std::vector<NamedShape> tensors;
    for (const auto& entry : file_->entries()) tensors.push_back({entry.name, entry.shape});
    names_ = vae_shape_table(tensors, located.weights);
    for (const auto& [name, tensor] : names_) {
      expect_floats(file_->entry(tensor.name_in_file), located.weights);
    }
    config_ = infer_vae_config(names_, settings_.groups, located.weights);
    for (TensorSpec& spec : tensor_specs(config_)) {
      shapes_.emplace(std::move(spec.name), std::move(spec.shape));
    }
  }

  const VaeConfig& config() const override { return config_; }

  base::Tensor read(const std::string& name) const override {
    base::TensorView view = file_->view(names_.at(name).name_in_file);
    view.shape = shapes_.at(name);
    base::Tensor values = base::convert(view, base::DType::kF32);
    file_->expect_whole();
    file_->release({view.data, view.bytes()});
    return values;
  }

  double scaling_factor() const override { return settings_.scaling_factor; }

  double shift() const override { return settings_.shift; }

  std::shared_ptr<const formats::TensorFile> file() const override { return file_; }

 private:
  std::shared_ptr<const formats::TensorFile> file_;
  VaeSettings settings_;
  ShapeTable names_;
  VaeConfig config_;
  std::map<std::string, base::Shape> shapes_;
};

// Matrices uniform with the deviation 1/sqrt(inputs), norms near 1, vectors near 0.
class RandomVae final : public VaeWeights {
 public:
  RandomVae(const VaeConfig& config, uint64_t seed) : config_(config), seed_(seed) {
    config.validate();
    uint64_t index = 0;
    for (TensorSpec& spec : tensor_specs(config)) {
      tensors_.emplace(std::move(spec.name), Entry{std::move(spec.shape), index++});
    }
  }

  const VaeConfig& config() const override { return config_; }

  base::Tensor read(const std::string& name) const override {
    const Entry& entry = tensors_.at(name);
    base::Tensor values(base::DType::kF32, entry.shape);
    base::fill_uniform(values.as<float>(), {.seed = seed_, .index = entry.index});
    const bool is_matrix = entry.shape.size() > 1;
    const int64_t inputs = values.size() / entry.shape.front();
    const double deviation = is_matrix ? 1.0 / std::sqrt(static_cast<double>(inputs)) : 0.02;
    const auto amplitude = static_cast<float>(deviation * std::sqrt(3.0));
    const bool is_norm_weight = !is_matrix && name.ends_with("weight");
    const float centre = is_norm_weight ? 1.0f : 0.0f;
    for (float& value : values.as<float>()) value = centre + amplitude * (2.0f * value - 1.0f);
    return values;
  }

 private:
  struct Entry {
    base::Shape shape;
    uint64_t index = 0;
  };

  VaeConfig config_;
  uint64_t seed_;
  std::map<std::string, Entry> tensors_;
};

}  // namespace

std::map<std::string, std::string> vae_metadata(const VaeSettings& settings) {
  const base::Json json = {{"_class_name", "AutoencoderKL"},
                           {"norm_num_groups", settings.groups},
                           {"scaling_factor", settings.scaling_factor},
                           {"shift_factor", settings.shift}};
  return {{"ditmoe.format", "1"}, {kMetadataKey, json.dump()}};
}

std::shared_ptr<const VaeWeights> open_vae(const std::string& path) {
  const Located located = locate(path);
  return std::make_shared<FileVae>(formats::TensorFile::open(located.weights), located);
}

std::shared_ptr<const VaeWeights> find_vae(const std::string& path) {
  // A folder that holds other networks, or weights of its own, is not the autoencoder beside them.
  std::error_code error;
  const fs::path folder(path);
  const bool has_vae = folder_exists(folder / "vae");
  if (has_vae && !fs::exists(folder / "model_index.json", error)) return nullptr;
  if (folder_exists(folder / "transformer")) return nullptr;
  const Located located = locate(path);
  auto file = formats::TensorFile::open(located.weights);
  if (!holds_vae(*file)) return nullptr;
  return std::make_shared<FileVae>(std::move(file), located);
}

std::shared_ptr<const VaeWeights> random_vae(const VaeConfig& config, uint64_t seed) {
  return std::make_shared<RandomVae>(config, seed);
}

}  // namespace ditmoe::networks
