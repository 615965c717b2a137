#include "ditmoe/networks/model_file.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/networks/config_inference.h"
#include "ditmoe/networks/diffusers_dit.h"
#include "ditmoe/networks/model_metadata.h"
#include "ditmoe/networks/packed_file.h"
#include "ditmoe/networks/shape_table.h"
#include "ditmoe/networks/switch_prior.h"

namespace ditmoe::networks {
namespace {

ShapeTable table_of(const formats::TensorFile& file) {
  ShapeTable table;
  const bool is_switch = is_switch_dit(file);
  for (const formats::TensorEntry& entry : file.entries()) {
    if (is_switch && is_prior_buffer(canonical_name(entry.name))) continue;
    expect_floats(entry, file.path());
    const std::string canonical = canonical_name(entry.name);
    const auto [other, is_new] = table.insert({canonical, {entry.name, entry.shape}});
    if (!is_new) {
      base::bad_input("{}: tensors {} and {} are the same weight",
                      file.path(),
                      formats::printable(other->second.name_in_file),
                      formats::printable(entry.name));
    }
  }
  return table;
}

// What a file says of itself is not for flags to change: they would make it another network.
void check_overrides(const ModelOverrides& overrides,
                     const DitConfig& written,
                     const std::string& path) {
  const auto check = [&path](const char* flag, std::optional<int64_t> given, int64_t found) {
    if (given && *given != found) {
      base::bad_input("{}: the file says {} {}, not {}", path, flag, found, *given);
    }
  };
  check("--heads", overrides.heads, written.heads);
  if (written.feed_forward == FeedForward::kMoe) check("--top-k", overrides.top_k, written.top_k);
  if (written.time_experts > 0) check("--top-k", overrides.top_k, written.time_top_k);
  if (overrides.objective && *overrides.objective != written.objective) {
    base::log_warning("{}: trained for objective {}, used as {}",
                      path,
                      to_word(written.objective),
                      to_word(*overrides.objective));
  }
}

}  // namespace

struct ModelFile::Contents {
  Contents(const std::string& path, std::optional<formats::WeightSet> weights)
      : file(formats::TensorFile::open(transformer_of_pipeline(path), weights)) {
    if (is_diffusers_dit(*file)) file = adapt_diffusers_dit(file);
  }

  std::shared_ptr<const formats::TensorFile> file;
  ShapeTable table;
  DitConfig config;
  base::DType dtype = base::DType::kF32;
  std::optional<kernels::Precision> packed;
  std::vector<std::string> class_names;
  SamplingDefaults sampling;
};

ModelFile ModelFile::open(const std::string& given_path, const ModelOverrides& overrides) {
  auto contents = std::make_shared<Contents>(given_path, overrides.weights);
  const std::string& path = contents->file->path();  // the file where a folder was given
  const Metadata& metadata = contents->file->metadata();
  check_format(metadata, path);
  contents->packed = packed_precision(metadata, path);
  if (!contents->packed) contents->table = table_of(*contents->file);
  DitConfig& config = contents->config;
  const std::optional<DitConfig> written = read_config(metadata, path);
  config = written || contents->packed
               ? written.value_or(DitConfig{})
               : infer_config(contents->table, overrides, with_prior(*contents->file), path);
  if (written) check_overrides(overrides, *written, path);
  if (overrides.objective) config.objective = *overrides.objective;
  config.validate(path);
  if (contents->packed) {
    if (!written) base::bad_input("{}: a packed file without its configuration", path);
    if (contents->file->format() != formats::FileFormat::kSafetensors) {
      base::bad_input("{}: expected packed weights in one file, found several", path);
    }
    check_packed(*contents->file, config, *contents->packed);
    for (const formats::TensorEntry& entry : contents->file->entries()) {
      contents->table[entry.name] = {entry.name, entry.shape};
    }
  } else {
    check_tensors(config, contents->table, path);
  }
  contents->dtype = formats::main_dtype(*contents->file);
  contents->class_names = read_class_names(metadata, config.num_classes, path);
  const bool is_retold = written && written->objective != config.objective;
  contents->sampling = is_retold ? default_sampling(config.objective)
                                 : read_sampling(metadata, config.objective, path);
  ModelFile model;
  model.contents_ = std::move(contents);
  return model;
}

const std::string& ModelFile::path() const { return contents_->file->path(); }

const DitConfig& ModelFile::config() const { return contents_->config; }

base::TensorView ModelFile::weight(const std::string& canonical_name) const {
  return contents_->file->view(name_in_file(canonical_name));
}

const std::string& ModelFile::name_in_file(const std::string& canonical_name) const {
  const auto found = contents_->table.find(canonical_name);
  DITMOE_ASSERT(found != contents_->table.end());
  return found->second.name_in_file;
}

std::optional<kernels::Precision> ModelFile::packed() const { return contents_->packed; }

const std::shared_ptr<const formats::TensorFile>& ModelFile::file() const {
  return contents_->file;
}

base::DType ModelFile::dtype() const { return contents_->dtype; }

const std::vector<std::string>& ModelFile::class_names() const { return contents_->class_names; }

const SamplingDefaults& ModelFile::sampling() const { return contents_->sampling; }

const std::map<std::string, std::string>& ModelFile::metadata() const {
  return contents_->file->metadata();
}

void save_model(const std::string& path,
                const DitConfig& config,
                const formats::NamedTensors& tensors,
                const std::vector<std::string>& class_names,
                const SamplingDefaults& sampling,
                base::DType dtype) {
  config.validate(path);
  const Metadata metadata = write_metadata(config, class_names, sampling);
  // Nothing is written that open would refuse.
  read_class_names(metadata, config.num_classes, path);
  read_sampling(metadata, config.objective, path);
  std::map<std::string, base::TensorView> by_name(tensors.begin(), tensors.end());
  ShapeTable table;
  for (const auto& [name, tensor] : by_name) table[name] = {name, tensor.shape};
  check_tensors(config, table, path);
  std::vector<base::Tensor> converted;
  formats::NamedTensors ordered;
  for (const TensorSpec& spec : tensor_specs(config)) {
    converted.push_back(base::convert(by_name.at(spec.name), dtype));
    ordered.emplace_back(spec.name, converted.back().view());
  }
  formats::write_safetensors(path, ordered, metadata);
}

}  // namespace ditmoe::networks
