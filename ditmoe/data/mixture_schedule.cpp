#include "ditmoe/data/mixture_schedule.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include <fmt/format.h>

#include "ditmoe/base/error.h"

namespace ditmoe::data {
namespace {

using base::bad_input;

constexpr size_t kMaxParts = 255;
constexpr int kMaxDecimals = 9;
constexpr double kMaxWeight = 1e9;

// Positions of a period that are counted one by one to find a place in it.
constexpr int64_t kBlock = 256;

// The weight times 10^kMaxDecimals, if it is written with no more decimals than that.
int64_t in_billionths(double weight) {
  double power = 1;
  int64_t rest = 1'000'000'000;
  for (int decimals = 0; decimals <= kMaxDecimals; ++decimals, power *= 10, rest /= 10) {
    const double number = std::nearbyint(weight * power);
    // The nearest double to number / 10^decimals is what reading that decimal gives.
    if (number >= 1 && number / power == weight) return static_cast<int64_t>(number) * rest;
  }
  bad_input("expected weights of at most {} decimals, found {}", kMaxDecimals, weight);
}

std::string shown(std::span<const double> weights) {
  std::string text;
  for (const double weight : weights) {
    text += fmt::format("{}{}", text.empty() ? "" : " : ", weight);
  }
  return text;
}

// Whole numbers in the ratio of the weights, as small as can be.
std::vector<int64_t> whole_shares(std::span<const double> weights) {
  if (weights.empty() || weights.size() > kMaxParts) {
    bad_input("expected a mixture of 1 to {} parts, found {}", kMaxParts, weights.size());
  }
  std::vector<int64_t> shares;
  int64_t divisor = 0;
  for (const double weight : weights) {
    if (!(weight > 0 && weight <= kMaxWeight)) {
      bad_input("expected weights above 0 and up to {}, found {}", kMaxWeight, weight);
    }
    shares.push_back(in_billionths(weight));
    divisor = std::gcd(divisor, shares.back());
  }
  int64_t sum = 0;
  for (size_t i = 0; i < shares.size(); ++i) {
    shares[i] /= divisor;
    if (shares[i] > MixtureSchedule::kMaxPeriod - sum) {
      bad_input("expected weights in the ratio of whole numbers whose sum is at most {}, found {}",
                MixtureSchedule::kMaxPeriod,
                shown(weights));
    }
    sum += shares[i];
  }
  return shares;
}

// A part's next pick: positions release <= p < deadline are in time for it.
struct Turn {
  int64_t release = 0;
  int64_t deadline = 0;

  // Pick number k of a part that has `share` of every `period` positions.
  static Turn of(int64_t k, int64_t share, int64_t period) {
    return {k * period / share, ((k + 1) * period + share - 1) / share};
  }
};

}  // namespace

MixtureSchedule::MixtureSchedule(std::span<const double> weights) : shares_(whole_shares(weights)) {
  fill_period();
}

// That floor(n·w) to ceil(n·w) of any first n positions go to a part of weight w is another way to
// say that its pick k stands at one of the positions floor(k/w) to ceil((k+1)/w) - 1. The weights
// themselves are such an order, in fractions, so there is one in whole picks, and it is found by
// taking, of the picks that may come now, the one that has to come first (Jackson's rule for tasks
// of one unit with whole times).
void MixtureSchedule::fill_period() {
  const int64_t period = std::accumulate(shares_.begin(), shares_.end(), int64_t{0});
  const size_t num_parts = shares_.size();
  std::vector<int64_t> picks(num_parts, 0);
  std::vector<Turn> turns;
  for (const int64_t share : shares_) turns.push_back(Turn::of(0, share, period));
  parts_.reserve(static_cast<size_t>(period));
  for (int64_t position = 0; position < period; ++position) {
    if (position % kBlock == 0) {
      picks_before_.insert(picks_before_.end(), picks.begin(), picks.end());
    }
    size_t first = num_parts;
    for (size_t i = 0; i < num_parts; ++i) {
      if (turns[i].release > position) continue;
      if (first == num_parts || turns[i].deadline < turns[first].deadline) first = i;
    }
    DITMOE_ASSERT(first < num_parts && position < turns[first].deadline);
    parts_.push_back(static_cast<uint8_t>(first));
    turns[first] = Turn::of(++picks[first], shares_[first], period);
  }
}

MixtureSchedule::Place MixtureSchedule::at(int64_t position) const {
  DITMOE_ASSERT(position >= 0);
  const int64_t part = parts_[static_cast<size_t>(position % period())];
  return {part, picks(part, position)};
}

int64_t MixtureSchedule::picks(int64_t part, int64_t num_positions) const {
  DITMOE_ASSERT(part >= 0 && part < num_parts() && num_positions >= 0);
  const int64_t periods = num_positions / period();
  const int64_t end = num_positions % period();
  const int64_t block = end / kBlock;
  const auto begin = parts_.begin() + block * kBlock;
  const auto counted = std::count(begin, parts_.begin() + end, static_cast<uint8_t>(part));
  return periods * shares_[static_cast<size_t>(part)] +
         picks_before_[static_cast<size_t>(block * num_parts() + part)] + counted;
}

}  // namespace ditmoe::data
