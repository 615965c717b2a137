#pragma once

#include <cstdint>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/metrics/features.h"

namespace ditmoe::metrics {

struct PrecisionRecall {
  double precision = 0;  // share of generated images within the real manifold
  double recall = 0;     // share of real images within the generated manifold
};

// Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991). The manifold of a set
// is the union of balls around its members, each reaching to the k-th nearest other member; the
// border belongs to the ball. Distances are Euclidean, in f64.
// Results do not depend on the number of threads.
// Throws bad_input for k < 1, a set of k or fewer vectors, sizes that differ or are not those of
// values, and for a vector with a value that is not finite (naming set and row).
PrecisionRecall precision_recall(const FeatureView& real,
                                 const FeatureView& generated,
                                 int64_t k,
                                 base::ThreadPool& pool);

}  // namespace ditmoe::metrics
