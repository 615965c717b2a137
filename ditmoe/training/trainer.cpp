#include "ditmoe/training/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include <torch/torch.h>

#include "ditmoe/base/log.h"
#include "ditmoe/base/progress.h"
#include "ditmoe/data/dataset.h"
#include "ditmoe/formats/folder.h"
#include "ditmoe/formats/png.h"
#include "ditmoe/pipeline/generate.h"
#include "ditmoe/pipeline/grid.h"
#include "ditmoe/training/batches.h"
#include "ditmoe/training/checkpoint.h"
#include "ditmoe/training/objective.h"
#include "ditmoe/training/run_log.h"
#include "ditmoe/training/stop_signal.h"
#include "ditmoe/training/torch_denoiser.h"

namespace ditmoe::training {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Sums over the steps since the last log line.
class LogAccumulator {
 public:
  void add(const Losses& losses, double share) {
    loss_ += share * losses.total().item<double>();
    mse_ += share * losses.mse_B.mean().item<double>();
    if (losses.vb_B.defined()) vb_ += share * losses.vb_B.mean().item<double>();
    for (const at::Tensor& balance : losses.network.balance_losses) {
      balance_ += share * balance.item<double>();
    }
    if (const at::Tensor& prior = losses.network.prior_loss; prior.defined()) {
      balance_ += share * prior.item<double>();
    }
    const std::vector<at::Tensor>& counts = losses.network.expert_counts_E;
    if (counts.empty()) return;
    const at::Tensor counts_LE = at::stack(counts);
    expert_counts_LE_ = expert_counts_LE_.defined() ? expert_counts_LE_ + counts_LE : counts_LE;
  }

  void add_step(double gradient_norm, int64_t images) {
    gradient_norm_ += gradient_norm;
    images_ += images;
    ++steps_;
  }

  // The means, and starts afresh.
  LogLine take(int64_t step, double lr) {
    const double steps = static_cast<double>(std::max<int64_t>(steps_, 1));
    const std::chrono::duration<double> elapsed = Clock::now() - since_;
    LogLine line;
    line.step = step;
    line.loss = loss_ / steps;
    line.mse = mse_ / steps;
    line.vb = vb_ / steps;
    line.balance = balance_ / steps;
    line.gradient_norm = gradient_norm_ / steps;
    line.lr = lr;
    line.images_per_second = static_cast<double>(images_) / elapsed.count();
    if (expert_counts_LE_.defined()) {
      const at::Tensor counts_LE = expert_counts_LE_.to(at::kDouble);
      const at::Tensor load_LE = counts_LE / counts_LE.mean(1, /*keepdim=*/true);
      line.max_load = load_LE.max().item<double>();
      line.min_load = load_LE.min().item<double>();
    }
    *this = LogAccumulator();
    return line;
  }

 private:
  double loss_ = 0, mse_ = 0, vb_ = 0, balance_ = 0, gradient_norm_ = 0;
  int64_t steps_ = 0, images_ = 0;
  at::Tensor expert_counts_LE_;
  Clock::time_point since_ = Clock::now();
};

// One run from its first or restored step on.
class Trainer {
 public:
  Trainer(const Recipe& recipe, const TrainOptions& options)
      : recipe_(recipe),
        options_(options),
        dataset_(data::open_fashion_mnist(recipe.data_folder, data::Split::kTrain)),
        objective_(make_objective(recipe.model.objective)),
        state_{ParameterSet(recipe.model), {}, {}, 0},
        module_(recipe.model, state_.parameters, {options.kernels}),
        batches_(recipe_, *dataset_, *objective_) {
    check_dataset();
    initialise(state_.parameters, recipe.seed);
    state_.ema = state_.parameters.values().clone();
    state_.optimiser = make_adamw_state(state_.parameters.values());
  }

  void run(StopSignal& stop) {
    if (options_.resume && restore_newest_checkpoint(options_.out, recipe_, state_)) {
      base::log_info("{}: resumed after step {}", options_.out, state_.steps_done);
    }
    RunLog log(options_.out, state_.steps_done);
    base::Progress progress("train",
                            recipe_.steps * recipe_.batch_size,
                            "images",
                            state_.steps_done * recipe_.batch_size);
    std::string note;
    while (state_.steps_done < recipe_.steps && !stop.requested()) {
      const double lr = recipe_.rate.at(state_.steps_done, recipe_.steps);
      step(lr);
      if (is_due(recipe_.log_every)) {
        const LogLine line = accumulated_.take(state_.steps_done, lr);
        log.append(line);
        note = fmt::format("loss {:.4f}", line.loss);
      }
      progress.update(state_.steps_done * recipe_.batch_size, note);
      // Samples first: a run resumed from the checkpoint would not draw them again.
      if (recipe_.sample_every > 0 && is_due(recipe_.sample_every)) draw_samples();
      if (is_due(recipe_.checkpoint_every)) checkpoint();
    }
    progress.finish();
    checkpoint();
    finish();
  }

 private:
  void check_dataset() const {
    const networks::DitConfig& model = recipe_.model;
    if (dataset_->channels() != model.channels || dataset_->height() != model.image_size ||
        dataset_->width() != model.image_size) {
      base::bad_input("model: expected image_size {} and channels {} as in {}, found {} and {}",
                      dataset_->height(),
                      dataset_->channels(),
                      recipe_.data_folder,
                      model.image_size,
                      model.channels);
    }
    if (dataset_->num_classes() != model.num_classes) {
      base::bad_input("model.num_classes: expected {} as in {}, found {}",
                      dataset_->num_classes(),
                      recipe_.data_folder,
                      model.num_classes);
    }
  }

  // At multiples of `every`, and at the last step.
  bool is_due(int64_t every) const {
    return state_.steps_done % every == 0 || state_.steps_done == recipe_.steps;
  }

  // One update of the weights.
  void step(double lr) {
    const int64_t micro_batch = recipe_.batch_size / recipe_.accumulation;
    const double share = 1.0 / static_cast<double>(recipe_.accumulation);
    at::Tensor& gradients = state_.parameters.gradients();
    gradients.zero_();
    for (int64_t part = 0; part < recipe_.accumulation; ++part) {
      const int64_t first = state_.steps_done * recipe_.batch_size + part * micro_batch;
      const Losses losses = objective_->losses(module_, batches_.at(first, micro_batch));
      (losses.total() * share).backward();
      const torch::NoGradGuard no_grad;
      accumulated_.add(losses, share);
    }
    const auto norm = gradients.norm().item<double>();
    if (!std::isfinite(norm)) {
      base::failure(
          "step {}: the gradient is not finite; the weights were left as they were, "
          "the last checkpoint is good",
          state_.steps_done + 1);
    }
    const bool clip = recipe_.clip_norm > 0.0 && norm > recipe_.clip_norm;
    adamw_step(recipe_.adamw,
               lr,
               clip ? recipe_.clip_norm / norm : 1.0,
               recipe_.ema_decay_at(state_.steps_done),
               gradients,
               state_.optimiser,
               state_.parameters.values(),
               state_.ema);
    ++state_.steps_done;
    accumulated_.add_step(norm, recipe_.batch_size);
  }

  void checkpoint() { save_checkpoint(options_.out, recipe_, dataset_->class_names(), state_); }

  // A grid of the EMA's samples, a row for each class; the same noise every time.
  void draw_samples() const {
    ParameterSet averaged(recipe_.model);
    averaged.values().copy_(state_.ema);
    const DitModule module(recipe_.model, averaged, {options_.kernels});
    TorchDenoiser denoiser(module);
    pipeline::GenerateRequest request;
    request.sampler = recipe_.sampling.sampler;
    request.steps = recipe_.sampling.steps;
    request.guidance = {recipe_.sampling.cfg, recipe_.sampling.cfg_channels == "all"};
    for (int64_t label = 0; label < recipe_.model.num_classes; ++label) {
      request.labels.insert(
          request.labels.end(), recipe_.samples_per_class, static_cast<int32_t>(label));
    }
    pipeline::GridLayout layout;
    layout.columns = recipe_.samples_per_class;
    layout.scale = 2;
    layout.row_labels = dataset_->class_names();
    const base::Tensor images = pipeline::to_uint8_NHWC(pipeline::generate(denoiser, request));
    const fs::path folder = fs::path(options_.out) / "samples";
    fs::create_directories(folder);
    formats::write_png((folder / fmt::format("step-{:08}.png", state_.steps_done)).string(),
                       pipeline::make_grid(images, layout));
  }

  void finish() const {
    if (state_.steps_done < recipe_.steps) {
      base::log_info(
          "{}: stopped after step {}; continue with --resume", options_.out, state_.steps_done);
      return;
    }
    const std::string path = options_.out + "/model.safetensors";
    export_model(path, recipe_, dataset_->class_names(), state_);
    base::log_info("{}: EMA weights after {} steps", path, state_.steps_done);
  }

  const Recipe& recipe_;
  const TrainOptions& options_;
  std::unique_ptr<data::Dataset> dataset_;
  std::unique_ptr<TrainingObjective> objective_;
  TrainState state_;
  DitModule module_;
  Batches batches_;
  LogAccumulator accumulated_;
};

}  // namespace

void train(const Recipe& recipe, const TrainOptions& options) {
  if (!options.resume && has_checkpoints(options.out)) {
    base::bad_input("{}: holds a run already; continue it with --resume or choose another --out",
                    options.out);
  }
  StopSignal stop;
  Trainer trainer(recipe, options);  // reads the data first: nothing is written if that fails
  fs::create_directories(options.out);
  const formats::FolderLock lock(options.out);
  remove_leftovers(options.out);
  trainer.run(stop);
}

}  // namespace ditmoe::training
