// That the frame for malformed files finds what it is there to find.

#include <cstdlib>
#include <memory>
#include <vector>

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/tensor.h"

#include "allocation_watch.h"
#include "malformed.h"

namespace ditmoe::formats {
namespace {

using test::AllocationWatch;
using test::expect_refused;
using test::MalformedCase;

const MalformedCase kCase = {"a", "content", "wrong"};

const auto refuse = [](const std::string& path) { base::bad_input("{}: wrong", path); };

TEST(MalformedFrameTest, AcceptsARefusal) { expect_refused(kCase, refuse); }

TEST(MalformedFrameTest, FindsAcceptance) {
  EXPECT_NONFATAL_FAILURE(expect_refused(kCase, [](const std::string&) {}), "no error");
}

TEST(MalformedFrameTest, FindsOtherWords) {
  EXPECT_NONFATAL_FAILURE(expect_refused({"a", "", "right"}, refuse), "lacks: right");
}

TEST(MalformedFrameTest, FindsAFailure) {
  const auto fail = [](const std::string& path) { base::failure("{}: wrong", path); };
  EXPECT_NONFATAL_FAILURE(expect_refused(kCase, fail), "kind");
}

TEST(MalformedFrameTest, FindsAMessageWithoutTheFile) {
  const auto anonymous = [](const std::string&) { base::bad_input("wrong"); };
  EXPECT_NONFATAL_FAILURE(expect_refused(kCase, anonymous), "begins not");
}

TEST(MalformedFrameTest, FindsTwoLines) {
  const auto lines = [](const std::string& path) { base::bad_input("{}: wrong\n", path); };
  EXPECT_NONFATAL_FAILURE(expect_refused(kCase, lines), "wrong\n");
}

TEST(MalformedFrameTest, FindsMemory) {
  const auto greedy = [](const std::string& path) {
    const std::vector<char> much(test::kMaxExtraBytes + 8);
    refuse(path);
  };
  EXPECT_NONFATAL_FAILURE(expect_refused(kCase, greedy), "peak");
}

TEST(AllocationWatchTest, SeesEveryWayToAllocate) {
  constexpr size_t kBytes = 1 << 20;
  const AllocationWatch watch;
  {
    const auto array = std::make_unique<char[]>(kBytes);
    EXPECT_GE(watch.peak(), kBytes);
    const base::Tensor tensor(base::DType::kU8, {kBytes});
    EXPECT_GE(watch.peak(), 2 * kBytes);
    void* memory = std::calloc(kBytes, 1);
    memory = std::realloc(memory, 2 * kBytes);
    EXPECT_GE(watch.peak(), 4 * kBytes);
    std::free(memory);
  }
  const size_t before = watch.peak();
  { const auto array = std::make_unique<char[]>(kBytes); }
  EXPECT_EQ(watch.peak(), before);  // what was freed does not count any more
}

}  // namespace
}  // namespace ditmoe::formats
