#include "ditmoe/kernels/patchify.h"

#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/patchify.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

const PatchShape kShapes[] = {
    {1, 28, 28, 4}, {4, 8, 8, 2}, {3, 6, 12, 3}, {2, 5, 5, 1}, {4, 8, 8, 8}};

TEST(PatchifyTest, MatchesItsDefinition) {
  for (const PatchShape& shape : kShapes) {
    const std::vector<float> image = tests::normal_values(shape.image_size(), 1);
    std::vector<float> tokens(image.size());
    std::vector<float> expected(image.size());
    patchify(image.data(), shape, tokens.data());
    ref::patchify(image.data(), shape, expected.data());
    EXPECT_EQ(tokens, expected);
  }
}

TEST(PatchifyTest, UnpatchifyMatchesItsDefinition) {
  for (const PatchShape& shape : kShapes) {
    const std::vector<float> tokens = tests::normal_values(shape.image_size(), 2);
    std::vector<float> image(tokens.size());
    std::vector<float> expected(tokens.size());
    unpatchify(tokens.data(), shape, image.data());
    ref::unpatchify(tokens.data(), shape, expected.data());
    EXPECT_EQ(image, expected);
  }
}

TEST(PatchifyTest, ChannelsAreOutermostGoingInAndInnermostComingOut) {
  const PatchShape shape{2, 2, 2, 2};
  const std::vector<float> image = {0, 1, 2, 3, 4, 5, 6, 7};  // channel 0, then channel 1
  std::vector<float> tokens(8);
  patchify(image.data(), shape, tokens.data());
  EXPECT_EQ(tokens, image);
  std::vector<float> back(8);
  unpatchify(image.data(), shape, back.data());
  EXPECT_EQ(back, (std::vector<float>{0, 2, 4, 6, 1, 3, 5, 7}));
}

}  // namespace
}  // namespace ditmoe::kernels
