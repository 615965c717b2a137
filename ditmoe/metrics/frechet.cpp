#include "ditmoe/metrics/frechet.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <string_view>

#include "ditmoe/base/error.h"
#include "ditmoe/metrics/lapack.h"

namespace ditmoe::metrics {
namespace {

// The largest covariance then takes 2 GB, and LAPACK's sizes stay within 32 bits.
constexpr int64_t kMostFeatures = 16384;

// Vectors centred at a time: many enough that the mean's own update costs little.
constexpr int64_t kRowsAtATime = 256;

// Of moments: their squares, and sums of those, stay finite. The square of an f32 reaches 1e77.
constexpr double kLargest = 1e150;

size_t square(int64_t size) { return static_cast<size_t>(size) * static_cast<size_t>(size); }

void check(const FeatureMoments& moments, std::string_view which) {
  const auto size = static_cast<int64_t>(moments.mean.size());
  if (size < 1 || size > kMostFeatures || moments.covariance.size() != square(size)) {
    base::bad_input(
        "Frechet distance: {} set: expected a covariance for a mean of {} (1 to {}) values, found "
        "{} values",
        which,
        size,
        kMostFeatures,
        moments.covariance.size());
  }
  for (const auto* values : {&moments.mean, &moments.covariance}) {
    for (const double value : *values) {
      if (!(std::abs(value) <= kLargest)) {  // NaN too
        base::bad_input("Frechet distance: {} set: expected finite {} up to {}, found {}",
                        which,
                        values == &moments.mean ? "means" : "covariances",
                        kLargest,
                        value);
      }
    }
  }
}

double trace(const FeatureMoments& moments) {
  const size_t size = moments.mean.size();
  double sum = 0;
  for (size_t i = 0; i < size; ++i) sum += moments.covariance[i * size + i];
  return sum;
}

// F [rank, size] with Σ = Fᵀ·F: eigenvectors as rows, each times the root of its eigenvalue.
std::vector<double> factor(const FeatureMoments& moments) {
  const auto size = static_cast<int64_t>(moments.mean.size());
  std::vector<double> rows = moments.covariance;
  const std::vector<double> eigenvalues = decompose_symmetric(rows, size);
  // A root turns noise of 1e-16 into 1e-8, which hundreds of null directions would add up.
  const double noise =
      static_cast<double>(size) * std::numeric_limits<double>::epsilon() * eigenvalues.back();
  const auto first =
      std::find_if(eigenvalues.begin(), eigenvalues.end(), [&](double x) { return x > noise; });
  const int64_t dropped = first - eigenvalues.begin();
  rows.erase(rows.begin(), rows.begin() + dropped * size);
  for (int64_t i = dropped; i < size; ++i) {
    const double root = std::sqrt(eigenvalues[static_cast<size_t>(i)]);
    for (double& value : std::span(rows).subspan((i - dropped) * size, size)) value *= root;
  }
  return rows;
}

}  // namespace

FeatureStatistics::FeatureStatistics(int64_t size) : size_(size) {
  if (size < 1 || size > kMostFeatures) {
    base::bad_input("feature statistics: expected 1 to {} features, found {}", kMostFeatures, size);
  }
  mean_.resize(static_cast<size_t>(size));
  scatter_.resize(square(size));
}

void FeatureStatistics::add(const FeatureView& batch) {
  if (batch.size != size_) {
    base::bad_input("feature statistics: expected {} features, found {}", size_, batch.size);
  }
  expect_features(batch, "feature statistics");
  std::vector<double> mean(static_cast<size_t>(size_));
  // One row more for what the means' difference adds.
  std::vector<double> deviations(
      static_cast<size_t>((std::min(batch.count, kRowsAtATime) + 1) * size_));
  for (int64_t first = 0; first < batch.count; first += kRowsAtATime) {
    const int64_t rows = std::min(kRowsAtATime, batch.count - first);
    const float* values = batch.values.data() + first * size_;
    std::fill(mean.begin(), mean.end(), 0.0);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t i = 0; i < size_; ++i) mean[i] += values[row * size_ + i];
    }
    for (double& value : mean) value /= static_cast<double>(rows);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t i = 0; i < size_; ++i) {
        deviations[row * size_ + i] = values[row * size_ + i] - mean[i];
      }
    }
    join(rows, mean.data(), deviations.data() + rows * size_);
    add_squares(deviations.data(), rows + 1, size_, scatter_);
  }
}

void FeatureStatistics::merge(const FeatureStatistics& other) {
  if (other.size_ != size_) {
    base::bad_input("feature statistics: expected {} features, found {}", size_, other.size_);
  }
  if (other.count_ == 0) return;
  for (size_t i = 0; i < scatter_.size(); ++i) scatter_[i] += other.scatter_[i];
  std::vector<double> shift(static_cast<size_t>(size_));
  join(other.count_, other.mean_.data(), shift.data());
  add_squares(shift.data(), 1, size_, scatter_);
}

void FeatureStatistics::join(int64_t count, const double* mean, double* shift) {
  const auto before = static_cast<double>(count_);
  const auto added = static_cast<double>(count);
  const double all = before + added;
  const double scale = std::sqrt(before * added / all);
  for (int64_t i = 0; i < size_; ++i) {
    const double difference = mean[i] - mean_[i];
    shift[i] = difference * scale;
    mean_[i] += difference * (added / all);
  }
  count_ += count;
}

FeatureMoments FeatureStatistics::finish() const {
  if (count_ < 2) {
    base::bad_input("feature statistics: a covariance takes two vectors, found {}", count_);
  }
  FeatureMoments moments{mean_, scatter_};
  const auto size = static_cast<size_t>(size_);
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      moments.covariance[i * size + j] /= static_cast<double>(count_ - 1);
      moments.covariance[j * size + i] = moments.covariance[i * size + j];
    }
  }
  return moments;
}

double frechet_distance(const FeatureMoments& first, const FeatureMoments& second) {
  check(first, "first");
  check(second, "second");
  if (first.mean.size() != second.mean.size()) {
    base::bad_input("Frechet distance: expected features of one size, found {} and {}",
                    first.mean.size(),
                    second.mean.size());
  }
  double distance = trace(first) + trace(second);
  for (size_t i = 0; i < first.mean.size(); ++i) {
    const double difference = first.mean[i] - second.mean[i];
    distance += difference * difference;
  }
  const auto size = static_cast<int64_t>(first.mean.size());
  const std::vector<double> values =
      singular_values_of_product(factor(first), factor(second), size);
  return std::max(0.0, distance - 2.0 * std::accumulate(values.begin(), values.end(), 0.0));
}

}  // namespace ditmoe::metrics
