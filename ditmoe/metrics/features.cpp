#include "ditmoe/metrics/features.h"

#include <algorithm>
#include <cmath>

#include "ditmoe/base/error.h"

namespace ditmoe::metrics {

void expect_features(const FeatureView& set, std::string_view what) {
  if (set.size < 1 || static_cast<int64_t>(set.values.size()) != set.count * set.size) {
    base::bad_input(
        "{}: expected {} x {}, found {} values", what, set.count, set.size, set.values.size());
  }
  const auto bad = std::find_if_not(
      set.values.begin(), set.values.end(), [](float value) { return std::isfinite(value); });
  if (bad != set.values.end()) {
    base::bad_input("{}, row {}: expected finite values, found {}",
                    what,
                    (bad - set.values.begin()) / set.size,
                    *bad);
  }
}

}  // namespace ditmoe::metrics
