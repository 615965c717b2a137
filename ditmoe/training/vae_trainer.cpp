#include "ditmoe/training/vae_trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>

#include <torch/torch.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/base/progress.h"
#include "ditmoe/data/prefetcher.h"
#include "ditmoe/data/training_stream.h"
#include "ditmoe/formats/folder.h"
#include "ditmoe/formats/png.h"
#include "ditmoe/training/checkpoint_store.h"
#include "ditmoe/training/stop_signal.h"
#include "ditmoe/training/table_log.h"
#include "ditmoe/training/vae_evaluation.h"
#include "ditmoe/training/vae_files.h"
#include "ditmoe/training/vae_updater.h"

namespace ditmoe::training {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

data::TrainingStream open_stream(const data::DataSettings& settings,
                                 const std::string& table,
                                 uint64_t seed) {
  const auto where = [&](size_t, const std::string& key) {
    const bool is_model = key == "image_size" || key == "channels";
    return (is_model ? "model" : table) + "." + key;
  };
  return data::open_training_stream({&settings, 1}, seed, where);
}

int64_t at_most(int64_t images, const data::TrainingStream& stream) {
  return std::min(images, stream.size(0));
}

const std::vector<std::string>& columns() {
  static const std::vector<std::string> kColumns = {"loss",
                                                    "mse",
                                                    "psnr",
                                                    "l1",
                                                    "kl",
                                                    "adversarial",
                                                    "critic",
                                                    "gradient_norm",
                                                    "lr",
                                                    "images_per_second",
                                                    "data_wait",
                                                    "held_out_mse",
                                                    "held_out_psnr",
                                                    "held_out_image_psnr",
                                                    "latent_mean",
                                                    "latent_deviation",
                                                    "latent_noise",
                                                    "latent_kl"};
  return kColumns;
}

// What is measured with a checkpoint.
struct Measured {
  LatentStatistics latents;
  std::optional<Reconstruction> held_out;
};

// Gathers what happens between two lines of the log.
class VaeLog {
 public:
  VaeLog(const std::string& run_folder, int64_t steps_done)
      : table_(run_folder, columns(), steps_done) {}

  void add(const VaeStep& step, int64_t images) {
    sum_.loss += step.loss;
    sum_.mse += step.mse;
    sum_.l1 += step.l1;
    sum_.kl += step.kl;
    sum_.adversarial += step.adversarial;
    sum_.critic += step.critic;
    sum_.gradient_norm += step.gradient_norm;
    ++steps_;
    images_ += images;
  }

  // Writes the means and begins anew. Returns the PSNR of training images.
  double write(int64_t step,
               double lr,
               double wait_seconds,
               const std::optional<Measured>& measured) {
    const double n = static_cast<double>(std::max<int64_t>(steps_, 1));
    const double seconds = std::chrono::duration<double>(Clock::now() - since_).count();
    const double psnr = 10.0 * std::log10(4.0 * n / sum_.mse);
    std::vector<std::optional<double>> values = {sum_.loss / n,
                                                 sum_.mse / n,
                                                 psnr,
                                                 sum_.l1 / n,
                                                 sum_.kl / n,
                                                 sum_.adversarial / n,
                                                 sum_.critic / n,
                                                 sum_.gradient_norm / n,
                                                 lr,
                                                 static_cast<double>(images_) / seconds,
                                                 wait_seconds / seconds};
    values.resize(columns().size());
    if (measured) fill(*measured, values);
    table_.append(step, values);
    restart();
    return psnr;
  }

  // Time spent otherwise does not count.
  void pause() { paused_ = Clock::now(); }

  void go_on() { since_ += Clock::now() - paused_; }

 private:
  static void fill(const Measured& measured, std::vector<std::optional<double>>& values) {
    auto place = values.end() - 7;
    if (measured.held_out) {
      place[0] = measured.held_out->mse;
      place[1] = measured.held_out->psnr;
      place[2] = measured.held_out->image_psnr;
    }
    place[3] = measured.latents.mean;
    place[4] = measured.latents.deviation;
    place[5] = measured.latents.noise_deviation;
    place[6] = measured.latents.kl;
  }

  void restart() {
    sum_ = {};
    steps_ = 0;
    images_ = 0;
    since_ = Clock::now();
  }

  TableLog table_;
  VaeStep sum_;
  int64_t steps_ = 0, images_ = 0;
  Clock::time_point since_ = Clock::now();
  Clock::time_point paused_;
};

// One run from its first or restored step on.
class VaeTrainer {
 public:
  VaeTrainer(const VaeRecipe& recipe, const VaeTrainOptions& options)
      : recipe_(recipe),
        options_(options),
        stream_(open_stream(recipe.data, "data", recipe.seed)),
        pool_(options.threads),
        state_(recipe),
        updater_(recipe, state_, pool_),
        evaluation_(recipe, state_, pool_),
        store_(options.out, recipe.keep_checkpoints) {
    if (recipe.held_out) {
      held_out_.emplace(open_stream(*recipe.held_out, "held_out", recipe.seed));
    }
    if (computed_precision(recipe) != recipe.precision) {
      base::log_warning("train.precision: this CPU has no products of bfloat16: f32 instead");
    }
  }

  void run(StopSignal& stop) {
    store_.remove_leftovers();
    if (options_.resume && restore_vae_checkpoint(store_, recipe_, state_)) {
      base::log_info("{}: resumed after step {}", options_.out, state_.steps_done);
    }
    VaeLog log(options_.out, state_.steps_done);
    base::Progress progress("train",
                            recipe_.steps * recipe_.batch_size,
                            "images",
                            state_.steps_done * recipe_.batch_size);
    data::Prefetcher<at::Tensor> batches(
        {.first = state_.steps_done * recipe_.batch_size,
         .end = recipe_.steps * recipe_.batch_size,
         .batch = recipe_.batch_size,
         .workers = static_cast<int>(recipe_.workers)},
        [&](int64_t first, int64_t count, at::Tensor& batch) { fill(first, count, batch); });
    std::string note;
    while (state_.steps_done < recipe_.steps && !stop.requested()) {
      const double lr = recipe_.rate.at(state_.steps_done, recipe_.steps);
      log.add(updater_.update(batches.next()), recipe_.batch_size);
      log.pause();
      // Pictures first: a run resumed from the checkpoint would not draw them again.
      if (recipe_.sample_every > 0 && is_due(recipe_.sample_every)) draw_pairs();
      std::optional<Measured> measured;
      if (is_due(recipe_.checkpoint_every)) measured = measure();
      log.go_on();
      if (is_due(recipe_.log_every) || measured) {
        note = fmt::format("{:.2f} dB",
                           log.write(state_.steps_done, lr, batches.wait_seconds(), measured));
      }
      if (measured) save_vae_checkpoint(store_, recipe_, state_, measured->latents);
      progress.update(state_.steps_done * recipe_.batch_size, note);
    }
    progress.finish();
    finish();
  }

 private:
  void fill(int64_t first, int64_t count, at::Tensor& batch) const {
    if (!batch.defined()) {
      batch = at::empty({count, stream_.channels(), stream_.height(), stream_.width()}, at::kFloat);
    }
    const auto elements = static_cast<size_t>(stream_.image_elements());
    for (int64_t i = 0; i < count; ++i) {
      float* image = batch.data_ptr<float>() + static_cast<size_t>(i) * elements;
      stream_.read(first + i, {image, elements});
    }
  }

  // At multiples of `every`, and at the last step.
  bool is_due(int64_t every) const {
    return state_.steps_done % every == 0 || state_.steps_done == recipe_.steps;
  }

  LatentStatistics measure_latents() const {
    return evaluation_.latents(stream_, at_most(recipe_.latent_images, stream_));
  }

  Measured measure() const {
    Measured measured = {measure_latents(), {}};
    if (!held_out_) return measured;
    measured.held_out =
        evaluation_.reconstruction(*held_out_, at_most(recipe_.held_out_images, *held_out_));
    base::log_info(
        "step {}: held-out images {:.2f} dB, {:.2f} dB on average; deviation of latents {:.3f}",
        state_.steps_done,
        measured.held_out->psnr,
        measured.held_out->image_psnr,
        measured.latents.deviation);
    return measured;
  }

  void draw_pairs() const {
    const data::TrainingStream& stream = held_out_ ? *held_out_ : stream_;
    const fs::path folder = fs::path(options_.out) / "samples";
    fs::create_directories(folder);
    formats::write_png((folder / fmt::format("step-{:08}.png", state_.steps_done)).string(),
                       evaluation_.pairs(stream, at_most(recipe_.sample_images, stream)));
  }

  void finish() {
    const LatentStatistics latents = measure_latents();
    save_vae_checkpoint(store_, recipe_, state_, latents);
    if (state_.steps_done < recipe_.steps) {
      base::log_info(
          "{}: stopped after step {}; continue with --resume", options_.out, state_.steps_done);
      return;
    }
    const std::string path = options_.out + "/model.safetensors";
    export_vae(path, recipe_, state_, latents);
    const networks::VaeSettings settings = settings_of(recipe_, latents);
    base::log_info("{}: averaged weights after {} steps; scaling factor {:.5g}, shift {:.5g}",
                   path,
                   state_.steps_done,
                   settings.scaling_factor,
                   settings.shift);
  }

  const VaeRecipe& recipe_;
  const VaeTrainOptions& options_;
  data::TrainingStream stream_;
  std::optional<data::TrainingStream> held_out_;
  base::ThreadPool pool_;
  VaeState state_;
  VaeUpdater updater_;
  VaeEvaluation evaluation_;
  CheckpointStore store_;
};

}  // namespace

void train_vae(const VaeRecipe& recipe, const VaeTrainOptions& options) {
  if (!options.resume && CheckpointStore(options.out, recipe.keep_checkpoints).any()) {
    base::bad_input("{}: holds a run already; continue it with --resume or choose another --out",
                    options.out);
  }
  StopSignal stop;
  VaeTrainer trainer(recipe, options);  // reads the data first: nothing is written if that fails
  fs::create_directories(options.out);
  const formats::FolderLock lock(options.out);
  trainer.run(stop);
}

}  // namespace ditmoe::training
