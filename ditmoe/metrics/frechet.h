#pragma once

#include <cstdint>
#include <vector>

#include "ditmoe/metrics/features.h"

namespace ditmoe::metrics {

// The Gaussian fitted to a set of feature vectors.
struct FeatureMoments {
  std::vector<double> mean;        // [size]
  std::vector<double> covariance;  // [size, size], unbiased: sums divided by the count less one
};

// The moments of feature vectors that come in batches, none of which is kept. Sums are in f64 and
// of deviations from the mean (Welford 1962; merged as Chan, Golub and LeVeque 1979), so features
// far from zero lose nothing. How vectors are ordered, batched and shared out among objects changes
// rounding alone: below 1e-12 of the largest variance.
class FeatureStatistics {
 public:
  // Throws bad_input unless size is from 1 to 16384.
  explicit FeatureStatistics(int64_t size);

  // Throws bad_input, with nothing added, for vectors of another size or not finite (naming the
  // row).
  void add(const FeatureView& batch);

  // Adds what the other has seen. Throws bad_input where its vectors are of another size.
  void merge(const FeatureStatistics& other);

  int64_t count() const { return count_; }

  // Throws bad_input for fewer than two vectors.
  FeatureMoments finish() const;

 private:
  // `count` vectors more, whose mean this is: moves the mean to that of all. What the scatter gains
  // beside the newcomers' own is the square of the vector written to `shift`.
  void join(int64_t count, const double* mean, double* shift);

  int64_t size_;
  int64_t count_ = 0;
  std::vector<double> mean_;     // [size]
  std::vector<double> scatter_;  // [size, size], lower half: sum of (x - mean)·(x - mean)ᵀ
};

// Squared Fréchet distance of two Gaussians; the FID, where the features are InceptionV3's (Heusel
// et al. 2017, arXiv 1706.08500):
//
//   |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2·(Σ₁·Σ₂)^½)
//
// in f64, not below 0, symmetric in its arguments to rounding. The last trace is the sum of the
// singular values of A₁ᵀ·A₂, with Σ = A·Aᵀ. Covariances may be singular: eigenvalues of Σ that are
// negative or zero to rounding count as zero. Moments of few vectors make the distance too large,
// so only figures of equal counts compare.
// Throws bad_input for sizes that do not fit or not each other, and for values that are not finite
// or beyond 1e150; failure where LAPACK finds no solution.
double frechet_distance(const FeatureMoments& first, const FeatureMoments& second);

}  // namespace ditmoe::metrics
