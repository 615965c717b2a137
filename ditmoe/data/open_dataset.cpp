#include "ditmoe/data/open_dataset.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include "ditmoe/base/error.h"
#include "ditmoe/data/array_dataset.h"
#include "ditmoe/data/image_folder_dataset.h"
#include "ditmoe/data/latent_dataset.h"
#include "ditmoe/formats/bytes.h"

namespace ditmoe::data {
namespace {

using base::bad_input;

constexpr const char* kFashionFolder = "/usr/share/datasets/fashion-mnist";

// Sides and labels above are mistakes; a network has no more either.
constexpr int64_t kMaxSide = 8192;
constexpr int64_t kMaxClasses = int64_t{1} << 24;

// Classes that are counted by their labels get a name each: one mistaken label must not take
// gigabytes.
constexpr int64_t kMaxCountedClasses = int64_t{1} << 16;

// Whether a kind has a key.
enum class Use { kNo, kMay, kMust };
using enum Use;

struct Kind {
  std::string_view name;
  Use folder, file, labels, class_names, image_size;
  bool has_pixels;  // channels can be made
  std::unique_ptr<Dataset> (*open)(const DataSettings& settings, uint64_t seed, KeyPlace where);
};

std::unique_ptr<Dataset> open_fashion(const DataSettings& settings, uint64_t, KeyPlace) {
  return open_fashion_mnist(settings.folder.empty() ? kFashionFolder : settings.folder,
                            settings.split == "test" ? Split::kTest : Split::kTrain,
                            std::max<int64_t>(settings.channels, 1));
}

// path: of the file with the labels.
std::unique_ptr<Dataset> open_arrays(LabelledImages contents,
                                     const std::string& path,
                                     const DataSettings& settings,
                                     KeyPlace where) {
  std::vector<std::string> names = settings.class_names;
  int64_t num_classes = static_cast<int64_t>(names.size());
  if (num_classes == 0) num_classes = settings.num_classes;
  if (num_classes == 0) {
    num_classes = std::ranges::max(contents.labels) + int64_t{1};
    if (num_classes > kMaxCountedClasses) {
      bad_input("{}: expected the number of classes, as {} has labels up to {}",
                where("num_classes"),
                path,
                num_classes - 1);
    }
  }
  check_labels(contents.labels, num_classes, path);
  while (static_cast<int64_t>(names.size()) < num_classes) {
    names.push_back(std::to_string(names.size()));
  }
  const int64_t channels = settings.channels > 0 ? settings.channels : contents.images_NHWC.dim(3);
  return make_array_dataset(std::move(contents), std::move(names), channels);
}

std::unique_ptr<Dataset> open_idx(const DataSettings& settings, uint64_t, KeyPlace where) {
  return open_arrays(
      read_idx_images(settings.file, settings.labels), settings.labels, settings, where);
}

std::unique_ptr<Dataset> open_npz(const DataSettings& settings, uint64_t, KeyPlace where) {
  return open_arrays(read_npz_images(settings.file), settings.file, settings, where);
}

std::unique_ptr<Dataset> open_image_folder(const DataSettings& settings, uint64_t, KeyPlace) {
  return ImageFolderDataset::open(settings.folder,
                                  settings.image_size,
                                  settings.channels > 0 ? settings.channels : 3,
                                  settings.limit);
}

std::unique_ptr<Dataset> open_latents(const DataSettings& settings, uint64_t seed, KeyPlace) {
  return LatentDataset::open(settings.folder, seed);
}

// clang-format off
constexpr std::array kKinds = {
    //   name             folder file   labels class_names image_size pixels
    Kind{"fashion_mnist", kMay,  kNo,   kNo,   kNo,        kMay,      true,  open_fashion},
    Kind{"idx",           kNo,   kMust, kMust, kMay,       kMay,      true,  open_idx},
    Kind{"npz",           kNo,   kMust, kNo,   kMay,       kMay,      true,  open_npz},
    Kind{"image_folder",  kMust, kNo,   kNo,   kNo,        kMust,     true,  open_image_folder},
    Kind{"latents",       kMust, kNo,   kNo,   kNo,        kMay,      false, open_latents},
};

// clang-format on

const Kind& kind_of(const DataSettings& settings, KeyPlace where) {
  const auto found = std::ranges::find(kKinds, settings.kind, &Kind::name);
  if (found != kKinds.end()) return *found;
  bad_input("{}: expected one of {}, found {}",
            where("kind"),
            fmt::join(dataset_kinds(), ", "),
            formats::printable(settings.kind));
}

void check_use(const std::string& key, Use use, bool given, const Kind& kind, KeyPlace where) {
  if (use == kMust && !given) {
    bad_input("{}: data of kind {} need it, found none", where(key), kind.name);
  }
  if (use == kNo && given) {
    bad_input("{}: data of kind {} have no such setting", where(key), kind.name);
  }
}

void check_range(const std::string& key, int64_t value, int64_t most, KeyPlace where) {
  if (value >= 0 && value <= most) return;
  bad_input("{}: expected 0 to {}, found {}", where(key), most, value);
}

// The data are of the size and have the classes that networks expect.
void check_agreement(const Dataset& dataset, const DataSettings& settings, KeyPlace where) {
  const std::string& source = settings.folder.empty() ? settings.file : settings.folder;
  const auto expect = [&](const std::string& key, int64_t wanted, int64_t there) {
    if (wanted == 0 || wanted == there) return;
    bad_input("{}: expected {} as in {}, found {}",
              where(key),
              there,
              source.empty() ? settings.kind : source,
              wanted);
  };
  expect("image_size", settings.image_size, dataset.height());
  expect("image_size", settings.image_size, dataset.width());
  expect("channels", settings.channels, dataset.channels());
  expect("num_classes", settings.num_classes, std::max<int64_t>(dataset.num_classes(), 1));
  if (settings.flip && !dataset.has_mirror_images()) {
    bad_input("{}: {} has no mirror images; expected false, or a cache made with encode --flip",
              where("flip"),
              source);
  }
}

}  // namespace

std::vector<std::string> dataset_kinds() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

void check_settings(const DataSettings& settings, KeyPlace where) {
  const Kind& kind = kind_of(settings, where);
  check_use("folder", kind.folder, !settings.folder.empty(), kind, where);
  check_use("file", kind.file, !settings.file.empty(), kind, where);
  check_use("labels", kind.labels, !settings.labels.empty(), kind, where);
  check_use("class_names", kind.class_names, !settings.class_names.empty(), kind, where);
  check_use("image_size", kind.image_size, settings.image_size != 0, kind, where);
  check_range("image_size", settings.image_size, kMaxSide, where);
  check_range("channels", settings.channels, int64_t{1} << 12, where);
  check_range("num_classes", settings.num_classes, kMaxClasses, where);
  check_range("limit", settings.limit, int64_t{1} << 62, where);
  if (kind.has_pixels && settings.channels != 0 && settings.channels != 1 &&
      settings.channels != 3) {
    bad_input("{}: expected 1 or 3 for data of kind {}, found {}",
              where("channels"),
              kind.name,
              settings.channels);
  }
  const bool has_split = settings.kind == "fashion_mnist";
  if (!settings.split.empty() &&
      (!has_split || (settings.split != "train" && settings.split != "test"))) {
    bad_input("{}: expected {}, found {}",
              where("split"),
              has_split ? "train or test" : "none for data of kind " + settings.kind,
              formats::printable(settings.split));
  }
  if (!(settings.weight > 0) || !std::isfinite(settings.weight)) {
    bad_input("{}: expected a number above 0, found {}", where("weight"), settings.weight);
  }
}

std::unique_ptr<Dataset> open_dataset(const DataSettings& settings, uint64_t seed, KeyPlace where) {
  check_settings(settings, where);
  std::unique_ptr<Dataset> dataset = kind_of(settings, where).open(settings, seed, where);
  check_agreement(*dataset, settings, where);
  return dataset;
}

}  // namespace ditmoe::data
