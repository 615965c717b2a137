#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ditmoe/training/batches.h"
#include "ditmoe/training/recipe.h"

namespace ditmoe::training {

// What may be wrong with a step, found before it changes the weights.
enum class Fault {
  kNone,
  kLoss,      // not finite
  kGradient,  // not finite
  kSpike,     // a loss far above those before it
};

// "none", "loss", "gradient", "spike": words of messages, dumps and injection.
std::string_view to_word(Fault fault);

// The losses of the last 128 good steps.
class LossWindow {
 public:
  static constexpr size_t kSize = 128;
  static constexpr size_t kLeast = 32;  // with fewer nothing is a spike

  // losses: where they are kept, oldest first.
  explicit LossWindow(std::vector<double>& losses) : losses_(losses) {}

  void add(double loss);

  // Whether a loss is more than so many median absolute deviations above the median; never with 0.
  // A deviation counts as at least a thousandth of the median.
  bool is_spike(double loss, double deviations) const;

 private:
  std::vector<double>& losses_;
};

Fault judge_step(double loss, double gradient_norm, bool is_spike);

// Writes `<run>/faults/step-00000012.json`: what happened, and which images, labels, times and
// variants the step was made of.
void dump_fault(const std::string& run_folder,
                int64_t step,
                Fault fault,
                double loss,
                double gradient_norm,
                FaultPolicy policy,
                const std::vector<Batch>& batches);

// Faults to make on purpose, for tests: "loss@3,gradient@5,data@7,spike@9" by the number of the
// step, counted from 1; each happens once in the life of the object.
class Injection {
 public:
  enum class Place { kData, kLoss, kGradient, kSpike };

  Injection() = default;

  // Throws bad_input for anything else.
  explicit Injection(const std::string& text);

  // Whether that has to happen in the step; once.
  bool take(Place place, int64_t step);

 private:
  struct Entry {
    Place place;
    int64_t step;
  };

  std::vector<Entry> entries_;
};

}  // namespace ditmoe::training
