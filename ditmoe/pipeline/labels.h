#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ditmoe::pipeline {

// Reads "0,3-5,all,none,ankle boot": numbers, inclusive ranges, class names (upper and lower case
// alike; of a name with commas its first part will do), `all` for every class, `none` for the null
// label num_classes. In the order given, repetitions kept. class_names may be empty.
// Throws bad_input with the allowed range, or the nearest class name.
std::vector<int32_t> parse_labels(std::string_view text,
                                  int64_t num_classes,
                                  const std::vector<std::string>& class_names);

// The class's name, "none" for the null label, else "class 3".
std::string label_name(int32_t label,
                       int64_t num_classes,
                       const std::vector<std::string>& class_names);

// count labels: the given ones over and over.
std::vector<int32_t> cycle_labels(const std::vector<int32_t>& labels, int64_t count);

}  // namespace ditmoe::pipeline
