#pragma once

#include "ditmoe/data/training_stream.h"
#include "ditmoe/training/checkpoint.h"
#include "ditmoe/training/dit_module.h"
#include "ditmoe/training/objective.h"
#include "ditmoe/training/recipe.h"

namespace ditmoe::training {

// The mean loss per image of the averaged weights on the recipe's held-out images: always the same
// images, times and noise, labels kept. Balance losses do not count. state is as before when it
// returns.
double held_out_loss(const Recipe& recipe,
                     const data::TrainingStream& images,
                     const TrainingObjective& objective,
                     const DitModule& module,
                     TrainState& state);

}  // namespace ditmoe::training
