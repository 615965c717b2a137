#include "ditmoe/training/faults.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/formats/file.h"

namespace ditmoe::training {
namespace {

double median_of(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

base::Json samples_json(const std::vector<Batch>& batches) {
  base::Json samples = base::Json::array();
  for (const Batch& batch : batches) {
    for (size_t i = 0; i < batch.samples.size(); ++i) {
      const data::Sample& sample = batch.samples[i];
      const auto at = static_cast<int64_t>(i);
      samples.push_back({{"part", sample.part},
                         {"image", sample.index},
                         {"label", sample.label},
                         {"mirrored", sample.variant.mirrored},
                         {"draw", sample.variant.draw},
                         {"y", batch.y[at].item<int64_t>()},
                         {"t", batch.t[at].item<double>()}});
    }
  }
  return samples;
}

// JSON has no NaN.
base::Json number(double value) {
  return std::isfinite(value) ? base::Json(value) : base::Json(fmt::format("{}", value));
}

}  // namespace

std::string_view to_word(Fault fault) {
  switch (fault) {
    case Fault::kNone:
      return "none";
    case Fault::kLoss:
      return "loss";
    case Fault::kGradient:
      return "gradient";
    case Fault::kSpike:
      return "spike";
  }
  DITMOE_ASSERT(false);
}

void LossWindow::add(double loss) {
  losses_.push_back(loss);
  if (losses_.size() > kSize) losses_.erase(losses_.begin());
}

bool LossWindow::is_spike(double loss, double deviations) const {
  if (deviations <= 0 || losses_.size() < kLeast) return false;
  const double median = median_of(losses_);
  std::vector<double> distances = losses_;
  for (double& distance : distances) distance = std::abs(distance - median);
  const double deviation = std::max(median_of(std::move(distances)), 1e-3 * std::abs(median));
  return loss > median + deviations * deviation;
}

Fault judge_step(double loss, double gradient_norm, bool is_spike) {
  if (!std::isfinite(loss)) return Fault::kLoss;
  if (!std::isfinite(gradient_norm)) return Fault::kGradient;
  return is_spike ? Fault::kSpike : Fault::kNone;
}

void dump_fault(const std::string& run_folder,
                int64_t step,
                Fault fault,
                double loss,
                double gradient_norm,
                FaultPolicy policy,
                const std::vector<Batch>& batches) {
  const std::string folder = run_folder + "/faults";
  std::filesystem::create_directories(folder);
  const base::Json json = {{"step", step},
                           {"fault", to_word(fault)},
                           {"policy", to_word(policy)},
                           {"loss", number(loss)},
                           {"gradient_norm", number(gradient_norm)},
                           {"samples", samples_json(batches)}};
  formats::write_text(fmt::format("{}/step-{:08}.json", folder, step), json.dump(1) + "\n");
}

Injection::Injection(const std::string& text) {
  constexpr std::string_view kWords[] = {"data", "loss", "gradient", "spike"};
  const auto refuse = [&] {
    base::bad_input(
        "--inject: expected data, loss, gradient or spike, \"@\" and a step, with commas between, "
        "found {}",
        text);
  };
  for (size_t first = 0; first < text.size();) {
    const size_t end = std::min(text.find(',', first), text.size());
    const size_t at = text.find('@', first);
    if (at >= end) refuse();
    const auto word = std::ranges::find(kWords, text.substr(first, at - first));
    int64_t step = 0;
    const auto [rest, error] = std::from_chars(text.data() + at + 1, text.data() + end, step);
    if (word == std::end(kWords) || error != std::errc() || rest != text.data() + end) refuse();
    entries_.push_back({static_cast<Place>(word - std::begin(kWords)), step});
    first = end + 1;
  }
}

bool Injection::take(Place place, int64_t step) {
  const auto found = std::ranges::find_if(
      entries_, [&](const Entry& entry) { return entry.place == place && entry.step == step; });
  if (found == entries_.end()) return false;
  entries_.erase(found);
  return true;
}

}  // namespace ditmoe::training
