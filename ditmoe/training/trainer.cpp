#include "ditmoe/training/trainer.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include <torch/torch.h>

#include "ditmoe/base/log.h"
#include "ditmoe/base/progress.h"
#include "ditmoe/data/prefetcher.h"
#include "ditmoe/formats/folder.h"
#include "ditmoe/training/averaged_weights.h"
#include "ditmoe/training/batches.h"
#include "ditmoe/training/checkpoint_store.h"
#include "ditmoe/training/faults.h"
#include "ditmoe/training/held_out.h"
#include "ditmoe/training/run_log.h"
#include "ditmoe/training/sample_grid.h"
#include "ditmoe/training/step_log.h"
#include "ditmoe/training/stop_signal.h"
#include "ditmoe/training/updater.h"

namespace ditmoe::training {
namespace {

// One run from its first or restored step on.
class Trainer {
 public:
  Trainer(const Recipe& recipe, const TrainOptions& options)
      : recipe_(recipe),
        options_(options),
        stream_(open_data(recipe)),
        updater_(recipe, stream_.class_names(), options.kernels),
        state_(updater_.state()),
        batches_(recipe_, stream_, updater_.objective()),
        store_(options.out, recipe.keep_checkpoints),
        injection_(options.inject) {
    if (recipe.held_out) held_out_.emplace(open_held_out(recipe));
  }

  void run(StopSignal& stop) {
    store_.remove_leftovers();
    if (options_.resume) restore();
    constexpr int64_t kSpare = 2;  // one being written, one about to be removed
    store_.expect_room(checkpoint_bytes(state_) * (recipe_.keep_checkpoints + kSpare));
    if (recipe_.faults.policy == FaultPolicy::kRollback) checkpoint();
    begin();
    base::Progress progress("train",
                            recipe_.steps * recipe_.batch_size,
                            "images",
                            state_.steps_done * recipe_.batch_size);
    while (state_.steps_done < recipe_.steps && !stop.requested()) {
      if (step()) after_step();
      progress.update(state_.steps_done * recipe_.batch_size, note_);
    }
    progress.finish();
    checkpoint();
    finish();
  }

 private:
  // At multiples of `every`, and at the last step.
  bool is_due(int64_t every) const {
    return state_.steps_done % every == 0 || state_.steps_done == recipe_.steps;
  }

  void restore() {
    const std::optional<std::string> newest = store_.newest();
    if (!newest) return;
    restore_state(*newest, recipe_, state_);
    store_.forget_after(state_.steps_done);
    base::log_info("{}: resumed after step {}", options_.out, state_.steps_done);
  }

  // The logs and the batches that follow state_.
  void begin() {
    log_.emplace(options_.out, state_.steps_done);
    step_log_ = StepLog();
    const int64_t micro_batch = recipe_.batch_size / recipe_.accumulation;
    prefetcher_.emplace(
        data::PrefetchSettings{.first = state_.position(recipe_.batch_size),
                               .batch = micro_batch,
                               .workers = static_cast<int>(recipe_.workers),
                               .ahead = std::max<int64_t>(recipe_.workers, recipe_.accumulation)},
        [this](int64_t first, int64_t count, Batch& batch) { batches_.fill(first, count, batch); });
  }

  // Computes one step and makes its update; false where it was found faulty and another is next.
  bool step() {
    const int64_t number = state_.steps_done + 1;
    std::vector<Batch> batches;
    for (int64_t part = 0; part < recipe_.accumulation; ++part) {
      batches.push_back(std::move(prefetcher_->next()));
    }
    step_log_.add_wait(prefetcher_->wait_seconds());
    const StepResult result = updater_.compute(batches, injection_, number);
    LossWindow window(state_.losses);
    const Fault fault = judge_step(
        result.loss, result.gradient_norm, window.is_spike(result.loss, recipe_.faults.spike));
    if (fault != Fault::kNone) return handle(fault, result, batches);
    window.add(result.loss);
    updater_.apply(result);
    ++state_.steps_done;
    step_log_.add(result, recipe_.batch_size);
    return true;
  }

  bool handle(Fault fault, const StepResult& result, const std::vector<Batch>& batches) {
    const FaultPolicy policy = recipe_.faults.policy;
    const int64_t number = state_.steps_done + 1;
    ++faults_;
    dump_fault(options_.out, number, fault, result.loss, result.gradient_norm, policy, batches);
    const std::string what = fmt::format(
        "step {}: fault {}: loss {:.4g}, gradient norm {:.4g}; its images are in {}/faults",
        number,
        to_word(fault),
        result.loss,
        result.gradient_norm,
        options_.out);
    if (policy == FaultPolicy::kStop || faults_ > recipe_.faults.most) {
      base::failure("{}; the weights were left as they were{}",
                    what,
                    policy == FaultPolicy::kStop
                        ? std::string(", the last checkpoint is good")
                        : fmt::format("; {} faults since the last checkpoint", faults_));
    }
    if (policy == FaultPolicy::kSkip) {
      base::log_warning("{}; the update is left out", what);
      ++state_.steps_done;
      step_log_.add_fault();
      return true;
    }
    roll_back(what);
    return false;
  }

  // To the last checkpoint, to go on from there with the images behind the faulty step's.
  void roll_back(const std::string& what) {
    const int64_t next = state_.position(recipe_.batch_size) + recipe_.batch_size;
    const std::optional<std::string> newest = store_.newest();
    DITMOE_ASSERT(newest.has_value());
    restore_state(*newest, recipe_, state_);
    base::log_warning("{}; gone back to step {}", what, state_.steps_done);
    state_.skipped_samples = next - state_.steps_done * recipe_.batch_size;
    begin();
    step_log_.add_fault();
  }

  void after_step() {
    const bool saves = is_due(recipe_.checkpoint_every);
    std::optional<double> loss;
    if (saves && held_out_) {
      loss = held_out_loss(recipe_, *held_out_, updater_.objective(), updater_.module(), state_);
    }
    if (is_due(recipe_.log_every) || loss) {
      LogLine line =
          step_log_.take(state_.steps_done, recipe_.rate.at(state_.steps_done - 1, recipe_.steps));
      line.held_out_loss = loss;
      line.expert_gradient_norms_LE = expert_gradient_norms(recipe_.model, state_.parameters);
      log_->append(line);
      note_ = fmt::format("loss {:.4f}", line.loss);
      loads_LE_ = line.expert_loads_LE;
    }
    // Samples first: a run resumed from the checkpoint would not draw them again.
    if (recipe_.sample_every > 0 && is_due(recipe_.sample_every)) draw_samples();
    if (saves) checkpoint(loss);
  }

  void checkpoint(std::optional<double> loss = {}) {
    store_.save(state_.steps_done, [&](const std::string& folder) {
      save_state(folder, recipe_, stream_.class_names(), state_);
    });
    faults_ = 0;
    if (!loss) return;
    const auto best = store_.best();
    if (!best || *loss < best->loss) store_.set_best(state_.steps_done, *loss);
  }

  // A grid of the EMA's samples and a picture of the experts' loads.
  void draw_samples() {
    const torch::NoGradGuard no_grad;
    const AveragedWeights averaged(state_);
    log_->image("samples",
                state_.steps_done,
                draw_sample_grid(recipe_, updater_.module(), stream_.class_names()));
    if (loads_LE_.defined()) {
      log_->image("experts", state_.steps_done, draw_expert_loads(loads_LE_));
    }
  }

  void finish() {
    if (state_.steps_done < recipe_.steps) {
      base::log_info(
          "{}: stopped after step {}; continue with --resume", options_.out, state_.steps_done);
      return;
    }
    const std::string path = options_.out + "/model.safetensors";
    export_model(path, recipe_, stream_.class_names(), state_);
    base::log_info("{}: EMA weights after {} steps", path, state_.steps_done);
  }

  const Recipe& recipe_;
  const TrainOptions& options_;
  data::TrainingStream stream_;
  std::optional<data::TrainingStream> held_out_;
  Updater updater_;
  TrainState& state_;
  Batches batches_;
  CheckpointStore store_;
  Injection injection_;
  std::optional<RunLog> log_;
  StepLog step_log_;
  std::string note_;
  at::Tensor loads_LE_;
  int64_t faults_ = 0;                                 // since the last checkpoint
  std::optional<data::Prefetcher<Batch>> prefetcher_;  // last: its threads use the others
};

}  // namespace

void train(const Recipe& recipe, const TrainOptions& options) {
  if (!options.resume && CheckpointStore(options.out, 1).any()) {
    base::bad_input("{}: holds a run already; continue it with --resume or choose another --out",
                    options.out);
  }
  StopSignal stop;
  Trainer trainer(recipe, options);  // reads the data first: nothing is written if that fails
  std::filesystem::create_directories(options.out);
  const formats::FolderLock lock(options.out);
  trainer.run(stop);
}

}  // namespace ditmoe::training
