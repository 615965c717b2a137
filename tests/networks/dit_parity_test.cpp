#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/networks/dit_executor.h"

#include "tests/support/arrays.h"

namespace ditmoe::networks {
namespace {

// The executor against arrays that the public reference implementations computed.
class DitParityTest : public ::testing::TestWithParam<std::string> {
 protected:
  DitParityTest()
      : folder_(std::string(DITMOE_TEST_DATA) + "/" + GetParam() + "/"),
        arrays_(formats::read_npz(folder_ + "forward.npz")),
        executor_(ModelFile::open(folder_ + "model.safetensors", {.heads = heads()}), {}, pool_) {}

  // What config.json says beyond what the shapes do.
  static int64_t heads() { return GetParam() == "moe_qknorm" ? 2 : 4; }

  bool has(const std::string& name) const { return arrays_.contains(name); }

  std::vector<float> floats(const std::string& name) const {
    const base::Tensor values = base::convert(arrays_.at(name).view(), base::DType::kF32);
    return {values.as<float>().begin(), values.as<float>().end()};
  }

  std::vector<int32_t> integers(const std::string& name) const {
    const base::Tensor values = base::convert(arrays_.at(name).view(), base::DType::kI32);
    return {values.as<int32_t>().begin(), values.as<int32_t>().end()};
  }

  void expect_output(const std::string& t, const std::string& expected, RoutingTrace& trace) {
    std::vector<float> out(floats(expected).size());
    executor_.predict_traced(floats("x"), floats(t), integers("y"), out, trace);
    EXPECT_TRUE(tests::close(out, floats(expected), 1e-4)) << expected;
  }

  std::string folder_;
  std::map<std::string, base::Tensor> arrays_;
  base::ThreadPool pool_{2};
  DitExecutor executor_;
};

TEST_P(DitParityTest, ForwardAgreesWithTheReference) {
  RoutingTrace trace;
  expect_output("t", "out", trace);
  if (has("route_index")) {
    EXPECT_EQ(trace.index, integers("route_index"));
    EXPECT_TRUE(tests::close(trace.weight, floats("route_weight"), 1e-4));
    EXPECT_EQ(trace.moe_layers, 2);
    EXPECT_EQ(trace.top_k, 2);
    EXPECT_EQ(trace.tokens, 3 * 16);
  } else {
    EXPECT_EQ(trace.moe_layers, 0);
  }
  if (has("t_fraction")) {
    expect_output("t_fraction", "out_t_fraction", trace);
  }
}

INSTANTIATE_TEST_SUITE_P(Reference,
                         DitParityTest,
                         ::testing::Values("moe_plain", "moe_qknorm", "dense_dit"),
                         [](const auto& reference) { return reference.param; });

}  // namespace
}  // namespace ditmoe::networks
