#include "ditmoe/base/memory.h"

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <unistd.h>

#include <gtest/gtest.h>

namespace ditmoe::base {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

class MemoryLimitTest : public testing::Test {
 protected:
  MemoryLimitTest()
      : root_(fs::temp_directory_path() / ("ditmoe-cgroup-" + std::to_string(getpid()))) {}

  ~MemoryLimitTest() override { fs::remove_all(root_); }

  void put(const std::string& name, const std::string& text) const {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }

  uint64_t limit() const { return memory_limit(root_ / "membership", root_ / "mount"); }

  fs::path root_;
};

TEST_F(MemoryLimitTest, NothingKnownIsNoLimit) {
  EXPECT_EQ(limit(), kUnlimited);
  put("membership", "0::/app\nnonsense\n");
  EXPECT_EQ(limit(), kUnlimited);
  put("mount/app/memory.max", "max\n");
  EXPECT_EQ(limit(), kUnlimited);
}

TEST_F(MemoryLimitTest, SecondVersion) {
  put("membership", "0::/user/app\n");
  put("mount/user/app/memory.max", "1073741824\n");
  EXPECT_EQ(limit(), uint64_t{1} << 30);
}

TEST_F(MemoryLimitTest, FirstVersion) {
  put("membership", "5:cpu:/x\n4:memory:/app\n0::/\n");
  put("mount/memory/app/memory.limit_in_bytes", "2147483648\n");
  EXPECT_EQ(limit(), uint64_t{2} << 30);
}

TEST_F(MemoryLimitTest, TheRootOfAContainerCountsAndTheSmallestWins) {
  put("membership", "0::/app\n");
  put("mount/app/memory.max", "4096000\n");
  put("mount/memory.max", "1024000\n");
  EXPECT_EQ(limit(), 1024000U);
}

TEST(FreeMemoryTest, IsBelowWhatCanBeAddressed) {
  EXPECT_GT(free_memory(), uint64_t{1} << 20);
  EXPECT_LT(free_memory(), uint64_t{1} << 56);
}

TEST(BytesTextTest, ChoosesTheUnit) {
  EXPECT_EQ(bytes_text(0), "0 bytes");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text(uint64_t{5} << 20), "5.0 MiB");
  EXPECT_EQ(bytes_text(uint64_t{1} << 30), "1.00 GiB");
  EXPECT_EQ(bytes_text(uint64_t{33} << 30), "33.0 GiB");
}

}  // namespace
}  // namespace ditmoe::base
