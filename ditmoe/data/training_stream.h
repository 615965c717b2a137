#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/base/function_ref.h"
#include "ditmoe/data/dataset.h"
#include "ditmoe/data/mixture_schedule.h"
#include "ditmoe/data/open_dataset.h"
#include "ditmoe/data/sample_order.h"

namespace ditmoe::data {

// One data set of a mixture.
struct StreamPart {
  std::shared_ptr<const Dataset> dataset;
  std::string name;   // in messages
  double weight = 1;  // see MixtureSchedule
  bool flip = false;  // mirror half of the images
  int64_t limit = 0;  // only the first images; 0 is all
};

// What stands at a position of a run.
struct Sample {
  int64_t part = 0;   // which data set
  int64_t index = 0;  // which of its images
  int32_t label = 0;
  Variant variant;
};

// The samples of a run by position, each a function of the seed and its position alone: positions
// go to the parts of the mixture by MixtureSchedule; a part goes through its images in the
// permutations of SampleOrder, one for each epoch of its own; a Philox bit of the position mirrors;
// the epoch is the draw of latents. A single part comes in the order of SampleOrder(size, seed).
// Threads may ask at once, for any position in any order.
class TrainingStream {
 public:
  // Throws bad_input naming the parts where they differ in shape or number of classes, or one is to
  // flip and has no mirror images, and for weights as MixtureSchedule does. Warns of classes that
  // have other names.
  TrainingStream(std::vector<StreamPart> parts, uint64_t seed);

  // Of an item [C, H, W].
  int64_t channels() const { return first().channels(); }

  int64_t height() const { return first().height(); }

  int64_t width() const { return first().width(); }

  int64_t image_elements() const { return first().image_elements(); }

  // Of the first part; empty for images without classes.
  const std::vector<std::string>& class_names() const { return first().class_names(); }

  // At least 1: images without classes are one class.
  int64_t num_classes() const;

  int64_t num_parts() const { return schedule_.num_parts(); }

  // Images of a part that are used.
  int64_t size(int64_t part) const;

  // What position p >= 0 asks for, without reading it.
  Sample at(int64_t position) const;

  // Reads the sample at a position and returns what was read: for a corrupt image the next good one
  // of its epoch, the first after the last. Throws failure where there is none or too many are
  // corrupt (Dataset::try_read), and what reading throws.
  Sample read(int64_t position, std::span<float> out_CHW) const;

  // Corrupt images that were met so far.
  int64_t num_corrupt() const;

 private:
  struct Part {
    StreamPart source;
    int64_t size;
    SampleOrder order;

    Part(StreamPart source, uint64_t seed);
  };

  const Dataset& first() const { return *parts_.front()->source.dataset; }

  const Part& part_of(const Sample& sample) const;

  uint64_t seed_;
  MixtureSchedule schedule_;
  std::vector<std::unique_ptr<Part>> parts_;
};

// The seed of one part of a mixture: of the order of its images and the noise in its latents. That
// of part 0 is the seed of the run.
uint64_t part_seed(uint64_t seed, int64_t part);

// Names the place of a key of one part of a mixture.
using PartKeyPlace = base::FunctionRef<std::string(size_t part, const std::string& key)>;

// Checks what can be without looking at files, see check_settings; also that there are parts and
// their weights make a mixture. For a recipe as it is read.
void check_mixture(std::span<const DataSettings> parts, PartKeyPlace where);

// Opens the data sets of a recipe, one or a mixture. Throws as check_mixture, open_dataset and the
// constructor do.
TrainingStream open_training_stream(std::span<const DataSettings> parts,
                                    uint64_t seed,
                                    PartKeyPlace where);

}  // namespace ditmoe::data
