#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/diffusion/sampler.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/networks/dit_executor.h"

namespace ditmoe::networks {
namespace {

struct Checkpoint {
  const char* name;
  int64_t heads;
};

// Samples of the reference implementation, step for step from the same noise, within 1e-3 of their
// largest magnitude.
class SamplingParityTest : public ::testing::TestWithParam<Checkpoint> {
 protected:
  void load(const std::string& samples) {
    path_ = folder() + samples;
    arrays_ = formats::read_npz(path_);
    const auto labels = array("y").as<int64_t>();
    y_.assign(labels.begin(), labels.end());
    const auto start = array("z").as<float>();
    x_.assign(start.begin(), start.end());
  }

  std::string folder() const { return std::string(DITMOE_TEST_DATA "/") + GetParam().name + "/"; }

  const base::Tensor& array(const std::string& name) const {
    return formats::array(arrays_, name, path_);
  }

  diffusion::Guidance guidance(bool all_channels) const {
    return {.scale = array("cfg_scale").as<double>()[0], .all_channels = all_channels};
  }

  // What the reference drew in step k for the doubled batch, whose first half is guided.
  diffusion::NoiseSource recorded_noise() const {
    return [this](int64_t image, int64_t step, std::span<float> out) {
      const base::Tensor& noise = array("noise");
      const auto row = static_cast<size_t>(step * noise.dim(1) + image);
      std::ranges::copy(noise.as<float>().subspan(row * out.size(), out.size()), out.begin());
    };
  }

  void run(const std::string& sampler,
           int64_t steps,
           bool all_channels,
           const diffusion::StepCallback& after_step = {}) {
    base::ThreadPool pool(2);
    const ModelFile model =
        ModelFile::open(folder() + "model.safetensors", {.heads = GetParam().heads});
    DitExecutor executor(model, {}, pool);
    diffusion::make_sampler(sampler, steps)
        ->run(executor, guidance(all_channels), y_, recorded_noise(), x_, after_step);
  }

  void expect_near(std::span<const float> expected) const {
    ASSERT_EQ(x_.size(), expected.size());
    float largest = 0.0f;
    for (const float value : expected) largest = std::max(largest, std::abs(value));
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(x_[i], expected[i], 1e-3 * largest) << "at " << i;
    }
  }

  std::vector<float> x_;

 private:
  std::string path_;
  std::map<std::string, base::Tensor> arrays_;
  std::vector<int32_t> y_;
};

TEST_P(SamplingParityTest, DdpmInEightSteps) {
  load("sample_ddpm8.npz");
  run("ddpm", 8, false);
  expect_near(array("out").as<float>());
}

TEST_P(SamplingParityTest, DdimInEightSteps) {
  load("sample_ddim8.npz");
  run("ddim", 8, false);
  expect_near(array("out").as<float>());
}

TEST_P(SamplingParityTest, EulerInSixSteps) {
  load("sample_rf6.npz");
  const auto trajectory = array("trajectory").as<float>();
  run("euler", 6, true, [&](int64_t done, int64_t /*total*/) {
    expect_near(trajectory.subspan(static_cast<size_t>(done) * x_.size(), x_.size()));
  });
}

INSTANTIATE_TEST_SUITE_P(Checkpoints,
                         SamplingParityTest,
                         ::testing::Values(Checkpoint{"moe_plain", 4}, Checkpoint{"moe_qknorm", 2}),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace ditmoe::networks
