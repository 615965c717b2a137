#pragma once

#include "ditmoe/training/parameters.h"
#include "ditmoe/training/recipe.h"

namespace ditmoe::training {

// Copies the weights of recipe.init_from, any model file that ModelFile::open reads, into
// parameters. Its network has to be the recipe's but for classes, image size, objective, balance
// loss and channels of variance: the row of the label table that stands for no label is copied; of
// the others those whose classes have the same names in both (class_names: the recipe's), or all
// where neither has names and there are as many; the rest stay as they are, as do a final layer of
// other channels. Throws bad_input naming file, key, expected and found.
void init_from(ParameterSet& parameters,
               const Recipe& recipe,
               const std::vector<std::string>& class_names = {});

}  // namespace ditmoe::training
