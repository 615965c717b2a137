#pragma once

#include "ditmoe/formats/toml.h"
#include "ditmoe/training/recipe.h"

namespace ditmoe::training {

// Throws bad_input pointing at the line of a value that is out of range or does not go with others.
// Looks at no files but the recipe.
void check_recipe(const formats::TomlDocument& document, const Recipe& recipe);

}  // namespace ditmoe::training
