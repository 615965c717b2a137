#include "ditmoe/data/dataset.h"

#include "ditmoe/data/pixels.h"

namespace ditmoe::data {

bool Dataset::try_read(int64_t index, const Variant& variant, std::span<float> out_CHW) const {
  read(index, out_CHW);
  if (variant.mirrored) mirror_rows(out_CHW, width());
  return true;
}

}  // namespace ditmoe::data
