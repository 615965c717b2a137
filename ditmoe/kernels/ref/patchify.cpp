#include "ditmoe/kernels/ref/patchify.h"

namespace ditmoe::kernels::ref {
namespace {

// Where in a CHW image lies pixel (p, q) of channel c of a token's patch.
int64_t pixel(const PatchShape& s, int64_t token, int64_t c, int64_t p, int64_t q) {
  const int64_t columns = s.width / s.patch;
  const int64_t y = token / columns * s.patch + p;
  const int64_t x = token % columns * s.patch + q;
  return (c * s.height + y) * s.width + x;
}

}  // namespace

void patchify(const float* image_CHW, const PatchShape& s, float* tokens) {
  for (int64_t token = 0; token < s.tokens(); ++token) {
    for (int64_t i = 0; i < s.patch_size(); ++i) {
      const int64_t c = i / (s.patch * s.patch);
      const int64_t p = i / s.patch % s.patch;
      const int64_t q = i % s.patch;
      tokens[token * s.patch_size() + i] = image_CHW[pixel(s, token, c, p, q)];
    }
  }
}

void unpatchify(const float* tokens, const PatchShape& s, float* image_CHW) {
  for (int64_t token = 0; token < s.tokens(); ++token) {
    for (int64_t i = 0; i < s.patch_size(); ++i) {
      const int64_t p = i / (s.patch * s.channels);
      const int64_t q = i / s.channels % s.patch;
      const int64_t c = i % s.channels;
      image_CHW[pixel(s, token, c, p, q)] = tokens[token * s.patch_size() + i];
    }
  }
}

}  // namespace ditmoe::kernels::ref
