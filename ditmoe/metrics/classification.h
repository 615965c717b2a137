#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ditmoe::metrics {

// How a classifier's judgement of images agrees with the classes they were meant to show.
struct Classification {
  int64_t num_classes = 0;
  std::vector<int64_t> confusion;  // [wanted, recognised] numbers of images

  // Images that were meant to show a class, and those of them recognised as it.
  int64_t count(int64_t wanted) const;
  int64_t correct(int64_t wanted) const;

  // The same of all classes.
  int64_t total() const;
  int64_t correct() const;

  // Share of all images recognised as the class that was wanted; 0 without images.
  double accuracy() const;
};

// logits [N, num_classes], wanted [N]. An image is recognised as the class with the largest logit,
// the first of them where several are equal.
// Throws bad_input for sizes that do not fit, a label out of range or a NaN logit (naming the row).
Classification classify(std::span<const float> logits,
                        std::span<const int32_t> wanted,
                        int64_t num_classes);

// One line per class that has images: name, images, share recognised and the class it is mistaken
// for most often; then one line for all. Without names classes are called by their number.
std::string format_table(const Classification& classification,
                         const std::vector<std::string>& class_names);

}  // namespace ditmoe::metrics
