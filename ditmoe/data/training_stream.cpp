#include "ditmoe/data/training_stream.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/data/random_streams.h"
#include "ditmoe/formats/bytes.h"

namespace ditmoe::data {
namespace {

using base::bad_input;

int64_t used_images(const StreamPart& part) {
  const int64_t there = part.dataset->num_images();
  return part.limit > 0 ? std::min(part.limit, there) : there;
}

std::vector<double> weights_of(std::span<const StreamPart> parts) {
  std::vector<double> weights;
  for (const StreamPart& part : parts) weights.push_back(part.weight);
  return weights;
}

std::string shape_of(const Dataset& dataset) {
  return fmt::format("{}x{}x{}", dataset.channels(), dataset.height(), dataset.width());
}

void warn_of_other_names(const StreamPart& part, const StreamPart& first) {
  const auto& names = part.dataset->class_names();
  const auto& others = first.dataset->class_names();
  const auto [name, other] = std::ranges::mismatch(names, others);
  if (name == names.end() || other == others.end()) return;
  base::log_warning("{}: class {} is {}, in {} {}",
                    part.name,
                    name - names.begin(),
                    formats::printable(*name),
                    first.name,
                    formats::printable(*other));
}

void check_parts(std::span<const StreamPart> parts) {
  const StreamPart& first = parts.front();
  for (const StreamPart& part : parts) {
    const Dataset& dataset = *part.dataset;
    if (shape_of(dataset) != shape_of(*first.dataset)) {
      bad_input("{} has images of {} and {} of {}: those of a mixture must have one shape",
                first.name,
                shape_of(*first.dataset),
                part.name,
                shape_of(dataset));
    }
    if (dataset.num_classes() != first.dataset->num_classes()) {
      bad_input("{} has {} classes and {} has {}: those of a mixture must be the same",
                first.name,
                first.dataset->num_classes(),
                part.name,
                dataset.num_classes());
    }
    if (part.flip && !dataset.has_mirror_images()) {
      bad_input("{}: expected mirror images, as it is to flip, found none", part.name);
    }
    warn_of_other_names(part, first);
  }
}

std::string name_of(const DataSettings& settings) {
  const std::string& source = settings.folder.empty() ? settings.file : settings.folder;
  return source.empty() ? settings.kind : source;
}

}  // namespace

TrainingStream::Part::Part(StreamPart part, uint64_t part_seed)
    : source(std::move(part)), size(used_images(source)), order(size, part_seed) {}

TrainingStream::TrainingStream(std::vector<StreamPart> parts, uint64_t seed)
    : seed_(seed), schedule_(weights_of(parts)) {
  check_parts(parts);
  for (StreamPart& part : parts) {
    const auto number = static_cast<int64_t>(parts_.size());
    parts_.push_back(std::make_unique<Part>(std::move(part), part_seed(seed, number)));
  }
}

int64_t TrainingStream::num_classes() const { return std::max<int64_t>(first().num_classes(), 1); }

int64_t TrainingStream::size(int64_t part) const {
  return parts_.at(static_cast<size_t>(part))->size;
}

const TrainingStream::Part& TrainingStream::part_of(const Sample& sample) const {
  return *parts_[static_cast<size_t>(sample.part)];
}

Sample TrainingStream::at(int64_t position) const {
  const MixtureSchedule::Place place = schedule_.at(position);
  Sample sample;
  sample.part = place.part;
  const Part& part = part_of(sample);
  sample.index = part.order.at(place.position);
  sample.label = part.source.dataset->label(sample.index);
  sample.variant.draw = static_cast<uint64_t>(place.position / part.size);
  if (part.source.flip) {
    const auto index = static_cast<uint64_t>(position);
    sample.variant.mirrored = base::random_below(2, {seed_, index, stream::kFlip}) == 1;
  }
  return sample;
}

Sample TrainingStream::read(int64_t position, std::span<float> out_CHW) const {
  Sample sample = at(position);
  const Part& part = part_of(sample);
  const Dataset& dataset = *part.source.dataset;
  if (dataset.try_read(sample.index, sample.variant, out_CHW)) return sample;
  // Rare: what comes next is looked up again.
  const int64_t place = schedule_.at(position).position;
  const int64_t epoch_begin = place - place % part.size;
  for (int64_t step = 1; step < part.size; ++step) {
    sample.index = part.order.at(epoch_begin + (place + step) % part.size);
    if (!dataset.try_read(sample.index, sample.variant, out_CHW)) continue;
    sample.label = dataset.label(sample.index);
    return sample;
  }
  base::failure("{}: none of the {} images can be read", part.source.name, part.size);
}

int64_t TrainingStream::num_corrupt() const {
  int64_t sum = 0;
  for (const auto& part : parts_) sum += part->source.dataset->num_corrupt();
  return sum;
}

uint64_t part_seed(uint64_t seed, int64_t part) {
  DITMOE_ASSERT(part >= 0);
  if (part == 0) return seed;
  const auto words = base::philox_block({seed, static_cast<uint64_t>(part), stream::kPartSeed}, 0);
  return static_cast<uint64_t>(words[1]) << 32 | words[0];
}

void check_mixture(std::span<const DataSettings> parts, PartKeyPlace where) {
  std::vector<double> weights;
  for (size_t i = 0; i < parts.size(); ++i) {
    check_settings(parts[i], [&](const std::string& key) { return where(i, key); });
    weights.push_back(parts[i].weight);
  }
  try {
    const MixtureSchedule schedule(weights);
  } catch (const base::Error& error) {
    bad_input("{}: {}", where(0, "weight"), error.what());
  }
}

TrainingStream open_training_stream(std::span<const DataSettings> parts,
                                    uint64_t seed,
                                    PartKeyPlace where) {
  check_mixture(parts, where);
  std::vector<StreamPart> opened;
  for (size_t i = 0; i < parts.size(); ++i) {
    const DataSettings& settings = parts[i];
    const auto place = [&](const std::string& key) { return where(i, key); };
    opened.push_back({open_dataset(settings, part_seed(seed, static_cast<int64_t>(i)), place),
                      name_of(settings),
                      settings.weight,
                      settings.flip,
                      settings.limit});
  }
  return {std::move(opened), seed};
}

}  // namespace ditmoe::data
