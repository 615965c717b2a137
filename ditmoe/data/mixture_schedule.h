#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ditmoe::data {

// Which part of a weighted mixture each position of a run goes to. Among the first n positions a
// part of weight w (of a sum of 1) is picked floor(n·w) or ceil(n·w) times, for every n and any
// number of parts. The pattern repeats once all weights come out whole: 1 : 5 after 6 positions.
// Immutable, so threads may ask at once.
class MixtureSchedule {
 public:
  // 1 to 255 weights above 0, by their decimals: 0.1 is a tenth. Throws bad_input unless they are
  // in the ratio of whole numbers whose sum is at most kMaxPeriod, which also takes a byte each in
  // memory.
  explicit MixtureSchedule(std::span<const double> weights);

  static constexpr int64_t kMaxPeriod = int64_t{1} << 24;

  struct Place {
    int64_t part = 0;
    int64_t position = 0;  // within the part: how often it was picked before
  };

  // Of position p >= 0.
  Place at(int64_t position) const;

  // How often part is picked among the first n >= 0 positions.
  int64_t picks(int64_t part, int64_t num_positions) const;

  int64_t num_parts() const { return static_cast<int64_t>(shares_.size()); }

  // Positions after which the pattern repeats.
  int64_t period() const { return static_cast<int64_t>(parts_.size()); }

 private:
  void fill_period();

  std::vector<int64_t> shares_;         // whole numbers in the ratio of the weights
  std::vector<uint8_t> parts_;          // of each position of a period
  std::vector<uint32_t> picks_before_;  // [block of positions, part]
};

}  // namespace ditmoe::data
