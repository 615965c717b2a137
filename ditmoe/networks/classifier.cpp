#include "ditmoe/networks/classifier.h"

#include <algorithm>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/kernels/matmul.h"
#include "ditmoe/networks/model_metadata.h"

namespace ditmoe::networks {
namespace {

constexpr int64_t kTaps = 9;  // of a 3x3 convolution

// The tensor as f32, after its shape has been checked.
base::Tensor read_weight(const formats::SafetensorsFile& file, const TensorSpec& spec) {
  if (!file.contains(spec.name)) {
    base::bad_input("{}: expected tensor {} {}, found none",
                    file.path(),
                    spec.name,
                    base::to_string(spec.shape));
  }
  const base::TensorView view = file.view(spec.name);
  if (view.shape != spec.shape) {
    base::bad_input("{}: tensor {}: expected shape {}, found {}",
                    file.path(),
                    spec.name,
                    base::to_string(spec.shape),
                    base::to_string(view.shape));
  }
  return base::convert(view, base::DType::kF32);
}

// [out, in, 3, 3] → [out, tap, in], the order in which gather_neighbours lays out its columns.
base::Tensor taps_first(const base::Tensor& weight) {
  const int64_t outputs = weight.dim(0);
  const int64_t inputs = weight.dim(1);
  const auto src = weight.as<float>();
  base::Tensor result(base::DType::kF32, {outputs, kTaps * inputs});
  const auto dst = result.as<float>();
  for (int64_t out = 0; out < outputs; ++out) {
    for (int64_t in = 0; in < inputs; ++in) {
      for (int64_t tap = 0; tap < kTaps; ++tap) {
        dst[static_cast<size_t>((out * kTaps + tap) * inputs + in)] =
            src[static_cast<size_t>((out * inputs + in) * kTaps + tap)];
      }
    }
  }
  return result;
}

// Each pixel's 3x3 neighbourhood in a row: map_HWC [size, size, channels] → columns
// [size·size, 9·channels]. Outside the map is zero.
void gather_neighbours(const float* map_HWC, int64_t size, int64_t channels, float* columns) {
  for (int64_t y = 0; y < size; ++y) {
    for (int64_t x = 0; x < size; ++x) {
      for (int64_t tap = 0; tap < kTaps; ++tap) {
        const int64_t from_y = y + tap / 3 - 1;
        const int64_t from_x = x + tap % 3 - 1;
        const bool inside = from_y >= 0 && from_y < size && from_x >= 0 && from_x < size;
        if (inside) {
          std::copy_n(map_HWC + (from_y * size + from_x) * channels, channels, columns);
        } else {
          std::fill_n(columns, channels, 0.0F);
        }
        columns += channels;
      }
    }
  }
}

// 2x2 maxima, not below zero: map_HWC [size, size, channels] → [size/2, size/2, channels].
void pool_and_clip(const float* map_HWC, int64_t size, int64_t channels, float* pooled) {
  const int64_t half = size / 2;
  const int64_t row = size * channels;
  for (int64_t y = 0; y < half; ++y) {
    for (int64_t x = 0; x < half; ++x) {
      const float* corner = map_HWC + 2 * y * row + 2 * x * channels;
      for (int64_t c = 0; c < channels; ++c, ++corner) {
        const float upper = std::max(corner[0], corner[channels]);
        const float lower = std::max(corner[row], corner[row + channels]);
        *pooled++ = std::max({upper, lower, 0.0F});
      }
    }
  }
}

// Working memory of one thread, large enough for every stage.
struct Scratch {
  explicit Scratch(const ClassifierConfig& config) : features(size_of(config.feature_size)) {
    int64_t size = config.image_size;
    int64_t channels = config.channels;
    int64_t largest_input = size * size * channels;
    int64_t largest_map = 0;
    int64_t largest_columns = 0;
    for (const int64_t width : config.conv_widths) {
      largest_columns = std::max(largest_columns, size * size * kTaps * channels);
      largest_map = std::max(largest_map, size * size * width);
      size /= 2;
      channels = width;
      largest_input = std::max(largest_input, size * size * channels);
    }
    input.resize(size_of(largest_input));
    columns.resize(size_of(largest_columns));
    map.resize(size_of(largest_map));
  }

  static size_t size_of(int64_t count) { return static_cast<size_t>(count); }

  std::vector<float> input;
  std::vector<float> columns;
  std::vector<float> map;
  std::vector<float> features;
};

}  // namespace

struct Classifier::State {
  State(const ClassifierConfig& the_config, base::ThreadPool& the_pool)
      : config(the_config), pool(the_pool), matmul(the_pool.size()) {}

  void load(const formats::SafetensorsFile& file);

  // One image through the network; logits [num_classes] or nullptr; features stay in scratch.
  void run(const uint8_t* image_HWC, float* logits, Scratch& scratch, int thread) const;

  ClassifierConfig config;
  std::vector<std::string> class_names;
  base::ThreadPool& pool;
  kernels::Matmul matmul;
  base::Arena arena{size_t{2} << 20};
  std::vector<kernels::PackedMatrix> convolutions;
  kernels::PackedMatrix hidden;
  kernels::PackedMatrix head;
};

void Classifier::State::load(const formats::SafetensorsFile& file) {
  const std::vector<TensorSpec> specs = tensor_specs(config);
  for (const auto& entry : file.entries()) {
    if (std::none_of(specs.begin(), specs.end(), [&](const TensorSpec& spec) {
          return spec.name == entry.name;
        })) {
      base::bad_input("{}: unknown tensor {}", file.path(), formats::printable(entry.name));
    }
  }
  for (size_t i = 0; i < specs.size(); i += 2) {
    const base::Tensor weight = read_weight(file, specs[i]);
    const base::Tensor bias = read_weight(file, specs[i + 1]);
    const auto pack = [&](const base::Tensor& matrix) {
      return matmul.pack(matrix.view(), bias.as<float>().data(), kernels::Precision::kF32, arena);
    };
    if (specs[i].name == "hidden.weight") {
      hidden = pack(weight);
    } else if (specs[i].name == "head.weight") {
      head = pack(weight);
    } else {
      convolutions.push_back(pack(taps_first(weight)));
    }
  }
}

void Classifier::State::run(const uint8_t* image_HWC,
                            float* logits,
                            Scratch& scratch,
                            int thread) const {
  int64_t size = config.image_size;
  int64_t channels = config.channels;
  std::transform(
      image_HWC, image_HWC + size * size * channels, scratch.input.begin(), [](uint8_t pixel) {
        return static_cast<float>(pixel) / 127.5F - 1.0F;
      });
  for (const kernels::PackedMatrix& convolution : convolutions) {
    gather_neighbours(scratch.input.data(), size, channels, scratch.columns.data());
    matmul.multiply(scratch.columns.data(), size * size, convolution, scratch.map.data(), thread);
    channels = convolution.outputs();
    pool_and_clip(scratch.map.data(), size, channels, scratch.input.data());
    size /= 2;
  }
  matmul.multiply(scratch.input.data(), 1, hidden, scratch.features.data(), thread);
  for (float& value : scratch.features) value = std::max(value, 0.0F);
  if (logits != nullptr) matmul.multiply(scratch.features.data(), 1, head, logits, thread);
}

Classifier Classifier::open(const std::string& path, base::ThreadPool& pool) {
  const auto file = formats::SafetensorsFile::open(path);
  const auto config = read_classifier_config(file.metadata(), path);
  if (!config) {
    base::bad_input(
        "{}: expected a classifier with metadata '{}', found none", path, kClassifierKey);
  }
  auto state = std::make_shared<State>(*config, pool);
  state->class_names = read_class_names(file.metadata(), config->num_classes, path);
  state->load(file);
  file.expect_whole();
  return Classifier(std::move(state));
}

const ClassifierConfig& Classifier::config() const { return state_->config; }

const std::vector<std::string>& Classifier::class_names() const { return state_->class_names; }

void Classifier::forward(std::span<const uint8_t> images_NHWC,
                         std::span<float> logits,
                         std::span<float> features) const {
  const ClassifierConfig& shape = config();
  const auto pixels = static_cast<size_t>(shape.image_size * shape.image_size * shape.channels);
  if (images_NHWC.size() % pixels != 0) {
    base::bad_input("classifier: expected images of {}x{}x{} pixels, found {} bytes",
                    shape.image_size,
                    shape.image_size,
                    shape.channels,
                    images_NHWC.size());
  }
  const size_t count = images_NHWC.size() / pixels;
  const auto num_classes = static_cast<size_t>(shape.num_classes);
  const auto feature_size = static_cast<size_t>(shape.feature_size);
  DITMOE_ASSERT(logits.empty() || logits.size() == count * num_classes);
  DITMOE_ASSERT(features.empty() || features.size() == count * feature_size);

  std::vector<Scratch> scratch(static_cast<size_t>(state_->pool.size()), Scratch(shape));
  state_->pool.run(static_cast<int64_t>(count), [&](int64_t task, int thread) {
    const auto image = static_cast<size_t>(task);
    Scratch& own = scratch[static_cast<size_t>(thread)];
    float* out = logits.empty() ? nullptr : logits.data() + image * num_classes;
    state_->run(images_NHWC.data() + image * pixels, out, own, thread);
    if (!features.empty()) {
      std::copy(own.features.begin(), own.features.end(), features.begin() + image * feature_size);
    }
  });
}

}  // namespace ditmoe::networks
