#include "ditmoe/training/init_from.h"

#include <algorithm>
#include <cstring>

#include <torch/torch.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/networks/model_file.h"

namespace ditmoe::training {
namespace {

constexpr const char* kLabels = "y_embedder.embedding_table.weight";

// What a checkpoint may have otherwise than the recipe.
networks::DitConfig without_free_choices(networks::DitConfig config) {
  const networks::DitConfig any;
  config.image_size = any.image_size;
  config.num_classes = any.num_classes;
  config.objective = any.objective;
  config.balance_factor = any.balance_factor;
  config.balance_pool = any.balance_pool;
  config.learn_sigma = any.learn_sigma;
  config.patch_size = any.patch_size;  // compared by itself: image sizes are multiples of it
  return config;
}

void check_network(const networks::ModelFile& model, const networks::DitConfig& wanted) {
  const networks::DitConfig& found = model.config();
  if (found.patch_size == wanted.patch_size &&
      without_free_choices(found) == without_free_choices(wanted)) {
    return;
  }
  const base::Json there = networks::to_json(found);
  const base::Json here = networks::to_json(wanted);
  for (const auto& [key, value] : here.items()) {
    const bool free = key == "image_size" || key == "num_classes" || key == "objective" ||
                      key == "balance_factor" || key == "balance_pool" || key == "learn_sigma";
    const base::Json other = there.value(key, base::Json("none"));
    if (!free && other != value) {
      base::bad_input("{}: init_from: expected {} {} as in the recipe, found {}{}",
                      model.path(),
                      key,
                      value.dump(),
                      other.dump(),
                      key == "experts" || key == "feed_forward" ? " (upcycle makes experts)" : "");
    }
  }
  base::bad_input("{}: init_from: is another network than the recipe's", model.path());
}

// For each class of the recipe the row of the file's table, -1 for none.
std::vector<int64_t> rows_of_classes(const networks::ModelFile& model,
                                     int64_t num_classes,
                                     const std::vector<std::string>& class_names) {
  std::vector<int64_t> rows(static_cast<size_t>(num_classes), -1);
  const std::vector<std::string>& there = model.class_names();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!there.empty() && !class_names.empty()) {
      const auto found = std::ranges::find(there, class_names[i]);
      if (found != there.end()) rows[i] = found - there.begin();
    } else if (model.config().num_classes == num_classes) {
      rows[i] = static_cast<int64_t>(i);
    }
  }
  return rows;
}

void copy_labels(const networks::ModelFile& model,
                 const base::Tensor& table,
                 const std::vector<std::string>& class_names,
                 at::Tensor target) {
  std::vector<int64_t> rows = rows_of_classes(model, target.size(0) - 1, class_names);
  const auto known = rows.size() - static_cast<size_t>(std::ranges::count(rows, -1));
  rows.push_back(model.config().num_classes);  // no label
  const int64_t width = target.size(1);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0) continue;
    std::copy_n(table.as<float>().data() + rows[i] * width,
                width,
                target.data_ptr<float>() + static_cast<int64_t>(i) * width);
  }
  base::log_info("{}: init_from: {} of {} classes begin as there, the others anew",
                 model.path(),
                 known,
                 rows.size() - 1);
}

}  // namespace

void init_from(ParameterSet& parameters,
               const Recipe& recipe,
               const std::vector<std::string>& class_names) {
  const networks::ModelFile model = networks::ModelFile::open(recipe.init_from);
  if (model.packed()) {
    base::bad_input("{}: is packed, in {}; give the file it was made from",
                    model.path(),
                    kernels::to_word(*model.packed()));
  }
  check_network(model, recipe.model);
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters.specs().size(); ++i) {
    const std::string& name = parameters.specs()[i].name;
    at::Tensor target = parameters.tensors()[i];
    const base::Tensor weight = base::convert(model.weight(name), base::DType::kF32);
    if (name == kLabels) {
      copy_labels(model, weight, class_names, target);
    } else if (weight.shape() == parameters.specs()[i].shape) {
      std::memcpy(target.data_ptr<float>(), weight.view().data, weight.bytes());
    } else {
      base::log_info("{}: init_from: {} begins anew, of another size there", model.path(), name);
    }
  }
}

}  // namespace ditmoe::training
