#include "ditmoe/training/classifier_trainer.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <torch/torch.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/base/progress.h"
#include "ditmoe/data/dataset.h"
#include "ditmoe/data/sample_order.h"
#include "ditmoe/formats/folder.h"
#include "ditmoe/metrics/classification.h"
#include "ditmoe/networks/classifier.h"
#include "ditmoe/training/classifier_module.h"
#include "ditmoe/training/recipe.h"

namespace ditmoe::training {
namespace {

constexpr uint32_t kAugmentStream = 0x10100;  // of base::RandomKey; index: the sample's position
constexpr int64_t kTestBatch = 500;

struct ClassifierRecipe {
  std::string data_folder = "/usr/share/datasets/fashion-mnist";
  int64_t data_limit = 0;  // use only the first images of each half; 0 is all
  networks::ClassifierConfig model;
  bool flip = true;   // mirror every other image
  int64_t shift = 1;  // move images by up to this many pixels
  int64_t epochs = 10;
  int64_t batch_size = 128;
  RateSchedule rate = {.peak = 1e-3, .cosine = true};
  double weight_decay = 0.01;
  double label_smoothing = 0.0;
  uint64_t seed = 0;
};

ClassifierRecipe read_classifier_recipe(formats::TomlDocument& document) {
  ClassifierRecipe recipe;
  std::string name;
  int64_t seed = 0;
  document.get("name", name);
  document.get("data.folder", recipe.data_folder);
  document.get("data.limit", recipe.data_limit);
  document.get("model.conv_widths", recipe.model.conv_widths);
  document.get("model.feature_size", recipe.model.feature_size);
  document.get("augment.flip", recipe.flip);
  document.get("augment.shift", recipe.shift);
  document.get("train.epochs", recipe.epochs);
  document.get("train.batch_size", recipe.batch_size);
  document.get("train.lr", recipe.rate.peak);
  document.get("train.warmup_steps", recipe.rate.warmup_steps);
  document.get("train.weight_decay", recipe.weight_decay);
  document.get("train.label_smoothing", recipe.label_smoothing);
  document.get("train.seed", seed);
  document.finish();
  recipe.seed = static_cast<uint64_t>(seed);

  const auto expect = [&](bool good, const char* key, const char* expected) {
    if (!good) base::bad_input("{}: expected {}", document.where(key), expected);
  };
  expect(recipe.data_limit >= 0, "data.limit", "a number of images, or 0 for all");
  expect(recipe.shift >= 0 && recipe.shift < recipe.model.image_size,
         "augment.shift",
         "a number of pixels less than the image has");
  expect(recipe.epochs >= 1, "train.epochs", "at least 1");
  expect(recipe.batch_size >= 1, "train.batch_size", "at least 1");
  expect(recipe.rate.peak > 0 && std::isfinite(recipe.rate.peak), "train.lr", "more than 0");
  expect(recipe.rate.warmup_steps >= 0, "train.warmup_steps", "0 or more");
  expect(recipe.weight_decay >= 0, "train.weight_decay", "0 or more");
  expect(recipe.label_smoothing >= 0 && recipe.label_smoothing < 1,
         "train.label_smoothing",
         "a number in [0, 1)");
  recipe.model.validate(document.where("model"));
  return recipe;
}

data::LabelledImages read_images(const ClassifierRecipe& recipe, data::Split split) {
  data::LabelledImages images = data::read_fashion_mnist(recipe.data_folder, split);
  const networks::ClassifierConfig& model = recipe.model;
  const base::Shape expected = {
      images.images_NHWC.dim(0), model.image_size, model.image_size, model.channels};
  if (images.images_NHWC.shape() != expected) {
    base::bad_input("{}: {} images: expected {}, found {}",
                    recipe.data_folder,
                    split == data::Split::kTrain ? "train" : "t10k",
                    base::to_string(expected),
                    base::to_string(images.images_NHWC.shape()));
  }
  if (recipe.data_limit > 0 && recipe.data_limit < static_cast<int64_t>(images.labels.size())) {
    images.labels.resize(static_cast<size_t>(recipe.data_limit));
  }
  return images;
}

// How one image is changed on its way into a batch.
struct Augmentation {
  bool mirrored = false;
  int64_t down = 0;
  int64_t right = 0;
};

Augmentation draw_augmentation(const ClassifierRecipe& recipe, int64_t position) {
  const auto numbers =
      base::philox_block({recipe.seed, static_cast<uint64_t>(position), kAugmentStream}, 0);
  const auto offset = [&](uint32_t number) {
    return static_cast<int64_t>(number % (2 * recipe.shift + 1)) - recipe.shift;
  };
  return {recipe.flip && (numbers[0] & 1) != 0, offset(numbers[1]), offset(numbers[2])};
}

// Copies an image of bytes to f32 in [-1, 1]; what moves in from outside is black.
void place_image(const uint8_t* src_HWC,
                 const networks::ClassifierConfig& shape,
                 const Augmentation& change,
                 float* dst_HWC) {
  const int64_t size = shape.image_size;
  for (int64_t y = 0; y < size; ++y) {
    for (int64_t x = 0; x < size; ++x) {
      const int64_t from_y = y - change.down;
      const int64_t moved_x = x - change.right;
      const int64_t from_x = change.mirrored ? size - 1 - moved_x : moved_x;
      const bool inside = from_y >= 0 && from_y < size && from_x >= 0 && from_x < size;
      for (int64_t c = 0; c < shape.channels; ++c) {
        const uint8_t pixel = inside ? src_HWC[(from_y * size + from_x) * shape.channels + c] : 0;
        *dst_HWC++ = static_cast<float>(pixel) / 127.5F - 1.0F;
      }
    }
  }
}

struct Batch {
  at::Tensor images_NCHW;  // channels-last memory
  at::Tensor labels;
};

// Images `index(i)` for i in [0, count), each changed as `augmentation(i)` says.
template <typename Index, typename Augment>
Batch gather_batch(const data::LabelledImages& images,
                   const networks::ClassifierConfig& shape,
                   int64_t count,
                   const Index& index,
                   const Augment& augmentation) {
  const int64_t pixels = shape.image_size * shape.image_size * shape.channels;
  at::Tensor images_NHWC =
      at::empty({count, shape.image_size, shape.image_size, shape.channels}, at::kFloat);
  Batch batch = {images_NHWC.permute({0, 3, 1, 2}), at::empty({count}, at::kLong)};
  for (int64_t i = 0; i < count; ++i) {
    const int64_t from = index(i);
    place_image(images.images_NHWC.as<uint8_t>().data() + from * pixels,
                shape,
                augmentation(i),
                images_NHWC.data_ptr<float>() + i * pixels);
    batch.labels.data_ptr<int64_t>()[i] = images.labels[static_cast<size_t>(from)];
  }
  return batch;
}

double test_accuracy(const ClassifierModule& module,
                     const networks::ClassifierConfig& shape,
                     const data::LabelledImages& images) {
  const torch::NoGradGuard no_grad;
  const auto total = static_cast<int64_t>(images.labels.size());
  int64_t correct = 0;
  for (int64_t first = 0; first < total; first += kTestBatch) {
    const Batch batch = gather_batch(
        images,
        shape,
        std::min(kTestBatch, total - first),
        [&](int64_t i) { return first + i; },
        [](int64_t) { return Augmentation{}; });
    const at::Tensor recognised = module.logits(batch.images_NCHW).argmax(1);
    correct += recognised.eq(batch.labels).sum().item<int64_t>();
  }
  return static_cast<double>(correct) / static_cast<double>(total);
}

// Makes the updates of one epoch and returns the mean loss.
class EpochRunner {
 public:
  EpochRunner(const ClassifierRecipe& recipe, const data::LabelledImages& images)
      : recipe_(recipe),
        images_(images),
        module_(recipe.model, recipe.seed),
        optimiser_(module_.parameters(),
                   torch::optim::AdamWOptions(recipe.rate.peak).weight_decay(recipe.weight_decay)),
        order_(static_cast<int64_t>(images.labels.size()), recipe.seed),
        steps_(static_cast<int64_t>(images.labels.size()) * recipe.epochs / recipe.batch_size) {}

  const ClassifierModule& module() const { return module_; }

  int64_t steps() const { return steps_; }

  double run(int64_t epoch, base::Progress& progress) {
    const int64_t end = steps_ * (epoch + 1) / recipe_.epochs;
    double sum = 0;
    int64_t count = 0;
    for (; step_ < end; ++step_, ++count) {
      sum += update();
      progress.update(step_ + 1);
    }
    return count == 0 ? 0.0 : sum / static_cast<double>(count);
  }

 private:
  double update() {
    const int64_t first = step_ * recipe_.batch_size;
    const Batch batch = gather_batch(
        images_,
        recipe_.model,
        recipe_.batch_size,
        [&](int64_t i) { return order_.at(first + i); },
        [&](int64_t i) { return draw_augmentation(recipe_, first + i); });
    const at::Tensor loss = torch::nn::functional::cross_entropy(
        module_.logits(batch.images_NCHW),
        batch.labels,
        torch::nn::functional::CrossEntropyFuncOptions().label_smoothing(recipe_.label_smoothing));
    const double value = loss.item<double>();
    if (!std::isfinite(value)) base::failure("step {}: the loss is {}", step_, value);
    optimiser_.zero_grad();
    loss.backward();
    for (auto& group : optimiser_.param_groups()) {
      group.options().set_lr(recipe_.rate.at(step_, steps_));
    }
    optimiser_.step();
    return value;
  }

  const ClassifierRecipe& recipe_;
  const data::LabelledImages& images_;
  ClassifierModule module_;
  torch::optim::AdamW optimiser_;
  data::SampleOrder order_;
  int64_t steps_;
  int64_t step_ = 0;
};

// What the program that reads the file makes of the test images.
metrics::Classification judge(const std::string& path,
                              const data::LabelledImages& images,
                              int threads) {
  base::ThreadPool pool(threads);
  const auto classifier = networks::Classifier::open(path, pool);
  const int64_t num_classes = classifier.config().num_classes;
  std::vector<float> logits(images.labels.size() * static_cast<size_t>(num_classes));
  const size_t bytes = images.images_NHWC.bytes() / static_cast<size_t>(images.images_NHWC.dim(0));
  classifier.forward(
      images.images_NHWC.as<uint8_t>().first(images.labels.size() * bytes), logits, {});
  return metrics::classify(logits, images.labels, num_classes);
}

}  // namespace

void train_classifier(formats::TomlDocument& document, const std::string& out_dir, int threads) {
  const ClassifierRecipe recipe = read_classifier_recipe(document);
  const data::LabelledImages train_images = read_images(recipe, data::Split::kTrain);
  const data::LabelledImages test_images = read_images(recipe, data::Split::kTest);
  EpochRunner runner(recipe, train_images);
  if (runner.steps() == 0) {
    base::bad_input("{}: expected at most the {} images there are",
                    document.where("train.batch_size"),
                    train_images.labels.size());
  }
  std::filesystem::create_directories(out_dir);
  const formats::FolderLock lock(out_dir);

  double accuracy = 0;
  base::Progress progress("classifier", runner.steps(), "steps");
  for (int64_t epoch = 0; epoch < recipe.epochs; ++epoch) {
    const double loss = runner.run(epoch, progress);
    accuracy = test_accuracy(runner.module(), recipe.model, test_images);
    base::log_info(
        "epoch {:>2}  loss {:.4f}  test accuracy {:.2f}%", epoch + 1, loss, 100.0 * accuracy);
  }
  progress.finish();

  const std::string path = out_dir + "/classifier.safetensors";
  formats::write_safetensors(
      path,
      runner.module().named(),
      {{"ditmoe.classifier", networks::to_json(recipe.model).dump()},
       {"ditmoe.class_names", base::Json(data::fashion_mnist_classes()).dump()},
       {"ditmoe.test_accuracy", fmt::format("{:.4f}", accuracy)}});
  base::log_info(
      "{}: {} test images\n{}",
      path,
      test_images.labels.size(),
      metrics::format_table(judge(path, test_images, threads), data::fashion_mnist_classes()));
}

}  // namespace ditmoe::training
