#include "ditmoe/metrics/precision_recall.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "ditmoe/base/error.h"

namespace ditmoe::metrics {
namespace {

// Distances to this many vectors are accumulated side by side: two rows of four f64 registers.
constexpr int64_t kLanes = 8;

// Vectors handled by one task.
constexpr int64_t kRowsPerTask = 16;

// A set transposed in groups of kLanes vectors, [group, size, lane]; the last group is filled up
// with zeros.
class PackedSet {
 public:
  explicit PackedSet(const FeatureView& set)
      : count_(set.count),
        size_(set.size),
        values_(static_cast<size_t>((set.count + kLanes - 1) / kLanes * kLanes * set.size)) {
    for (int64_t row = 0; row < count_; ++row) {
      const float* src = set.values.data() + row * size_;
      double* dst = values_.data() + row / kLanes * kLanes * size_ + row % kLanes;
      for (int64_t i = 0; i < size_; ++i) dst[i * kLanes] = src[i];
    }
  }

  int64_t count() const { return count_; }

  // Squared distances from one vector to all of the set.
  void squared_distances(const float* vector, std::vector<double>& distances) const {
    distances.resize(static_cast<size_t>((count_ + kLanes - 1) / kLanes * kLanes));
    for (int64_t first = 0; first < count_; first += kLanes) {
      double sum[kLanes] = {};
      const double* group = values_.data() + first * size_;
      for (int64_t i = 0; i < size_; ++i) {
        const double value = vector[i];
        for (int64_t lane = 0; lane < kLanes; ++lane) {
          const double difference = value - group[i * kLanes + lane];
          sum[lane] += difference * difference;
        }
      }
      std::copy_n(sum, kLanes, distances.begin() + first);
    }
    distances.resize(static_cast<size_t>(count_));
  }

 private:
  int64_t count_;
  int64_t size_;
  std::vector<double> values_;
};

void check(const FeatureView& set, std::string_view name, int64_t k) {
  if (set.count <= k) {
    base::bad_input(
        "precision and recall: expected more than k = {} {} images, found {}", k, name, set.count);
  }
  expect_features(set, fmt::format("precision and recall: {} features", name));
}

// Calls visit(row, squared distances to all of `set`) for every row of `queries`, in any order.
template <typename Visit>
void for_each_row(const FeatureView& queries,
                  const PackedSet& set,
                  base::ThreadPool& pool,
                  const Visit& visit) {
  const int64_t tasks = (queries.count + kRowsPerTask - 1) / kRowsPerTask;
  pool.run(tasks, [&](int64_t task, int /*thread*/) {
    std::vector<double> distances;
    const int64_t end = std::min(queries.count, (task + 1) * kRowsPerTask);
    for (int64_t row = task * kRowsPerTask; row < end; ++row) {
      set.squared_distances(queries.values.data() + row * queries.size, distances);
      visit(row, distances);
    }
  });
}

// Squared distance of each vector to its k-th nearest other one.
std::vector<double> squared_radii(const FeatureView& set,
                                  const PackedSet& packed,
                                  int64_t k,
                                  base::ThreadPool& pool) {
  std::vector<double> radii(static_cast<size_t>(set.count));
  for_each_row(set, packed, pool, [&](int64_t row, std::vector<double>& distances) {
    distances.erase(distances.begin() + row);
    std::nth_element(distances.begin(), distances.begin() + (k - 1), distances.end());
    radii[static_cast<size_t>(row)] = distances[static_cast<size_t>(k - 1)];
  });
  return radii;
}

// Share of the queries that lie in a ball around a member of the set.
double share_inside(const FeatureView& queries,
                    const PackedSet& set,
                    const std::vector<double>& radii,
                    base::ThreadPool& pool) {
  std::vector<uint8_t> inside(static_cast<size_t>(queries.count));
  for_each_row(queries, set, pool, [&](int64_t row, const std::vector<double>& distances) {
    for (size_t i = 0; i < radii.size(); ++i) {
      if (distances[i] <= radii[i]) {
        inside[static_cast<size_t>(row)] = 1;
        return;
      }
    }
  });
  const auto count = std::count(inside.begin(), inside.end(), uint8_t{1});
  return static_cast<double>(count) / static_cast<double>(queries.count);
}

}  // namespace

PrecisionRecall precision_recall(const FeatureView& real,
                                 const FeatureView& generated,
                                 int64_t k,
                                 base::ThreadPool& pool) {
  if (k < 1) base::bad_input("precision and recall: expected k of at least 1, found {}", k);
  check(real, "real", k);
  check(generated, "generated", k);
  if (real.size != generated.size) {
    base::bad_input(
        "precision and recall: expected features of one size, found {} real, {} generated",
        real.size,
        generated.size);
  }
  const PackedSet real_packed(real);
  const PackedSet generated_packed(generated);
  return {share_inside(generated, real_packed, squared_radii(real, real_packed, k, pool), pool),
          share_inside(
              real, generated_packed, squared_radii(generated, generated_packed, k, pool), pool)};
}

}  // namespace ditmoe::metrics
