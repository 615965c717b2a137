#include "ditmoe/training/averaged_weights.h"

#include <algorithm>

namespace ditmoe::training {

void AveragedWeights::swap() {
  auto* values = state_.parameters.values().data_ptr<float>();
  std::swap_ranges(values, values + state_.ema.numel(), state_.ema.data_ptr<float>());
  state_.parameters.refresh_half();
}

}  // namespace ditmoe::training
