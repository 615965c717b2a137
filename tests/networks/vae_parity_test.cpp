#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/formats/npz.h"
#include "ditmoe/networks/vae.h"

#include "tests/support/arrays.h"
#include "tests/support/isa.h"

namespace ditmoe::networks {
namespace {

using kernels::Precision;
using tests::close;

// Two images of 32x32 pixels, two latents of 8x8.
struct Results {
  std::vector<float> mean = std::vector<float>(2 * 4 * 8 * 8);
  std::vector<float> logvar = std::vector<float>(2 * 4 * 8 * 8);
  std::vector<float> decoded = std::vector<float>(2 * 3 * 32 * 32);
};

// The autoencoder against arrays that the reference implementation computed.
class VaeParityTest : public tests::IsaTest {
 protected:
  std::span<const float> reference(const std::string& name) const {
    return arrays_.at(name).as<float>();
  }

  Results compute(Precision precision) {
    Vae vae(open_vae(folder_ + "model.safetensors"),
            {.precision = precision, .isa = GetParam()},
            pool_);
    Results results;
    vae.encode(reference("image"), 32, 32, results.mean, results.logvar);
    vae.decode(reference("latent"), 8, 8, results.decoded);
    return results;
  }

  std::string folder_ = std::string(DITMOE_TEST_DATA) + "/vae_small/";
  std::map<std::string, base::Tensor> arrays_ = formats::read_npz(folder_ + "io.npz");
  base::ThreadPool pool_{2};
};

INSTANTIATE_TEST_SUITE_P(Isa, VaeParityTest, tests::isa_levels(), tests::isa_level_name);

// Mean squared error over mean square.
double normalised_error(std::span<const float> actual, std::span<const float> expected) {
  double error = 0;
  double square = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(static_cast<double>(actual[i]) - expected[i], 2);
    square += std::pow(static_cast<double>(expected[i]), 2);
  }
  return error / square;
}

TEST_P(VaeParityTest, F32AgreesWithTheReference) {
  const Results results = compute(Precision::kF32);
  EXPECT_TRUE(close(results.mean, reference("mean"), 1e-4));
  EXPECT_TRUE(close(results.logvar, reference("logvar_clamped"), 1e-4));
  EXPECT_TRUE(close(results.decoded, reference("decoded"), 1e-4));
}

TEST_P(VaeParityTest, Bf16IsNearTheReference) {
  const Results results = compute(Precision::kBf16);
  EXPECT_LT(normalised_error(results.mean, reference("mean")), 1e-4);
  EXPECT_LT(normalised_error(results.logvar, reference("logvar_clamped")), 1e-4);
  EXPECT_LT(normalised_error(results.decoded, reference("decoded")), 1e-4);
}

}  // namespace
}  // namespace ditmoe::networks
