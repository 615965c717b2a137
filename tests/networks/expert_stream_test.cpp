#include "ditmoe/networks/expert_stream.h"

#include <filesystem>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/file.h"

namespace ditmoe::networks {
namespace {

constexpr uint64_t kPage = 4096;

// A file of pages, each filled with its number.
class ExpertStreamTest : public ::testing::Test {
 protected:
  ExpertStreamTest() {
    std::string text;
    for (int page = 0; page < 40; ++page) text += std::string(kPage, static_cast<char>(page));
    formats::write_text(path_, text);
  }

  ~ExpertStreamTest() override { std::filesystem::remove(path_); }

  // Regions of one to three pages with a page between them.
  static std::vector<ExpertRegion> regions(int64_t count) {
    std::vector<ExpertRegion> result;
    uint64_t page = 1;
    for (int64_t i = 0; i < count; ++i) {
      const uint64_t pages = 1 + static_cast<uint64_t>(i) % 3;
      result.push_back({page * kPage, pages * kPage});
      page += pages + 1;
    }
    return result;
  }

  static void expect_region(const ExpertRegion& region, const std::byte* data) {
    for (uint64_t at = 0; at < region.bytes; ++at) {
      const auto expected = static_cast<std::byte>((region.offset + at) / kPage);
      ASSERT_EQ(data[at], expected) << "byte " << at << " of the region at " << region.offset;
    }
  }

  std::string path_ =
      (std::filesystem::temp_directory_path() / fmt::format("ditmoe-stream-{}.bin", getpid()))
          .string();
};

TEST_F(ExpertStreamTest, RoundThatWasGivenUpIsPassedOver) {
  const std::vector<ExpertRegion> all = regions(5);
  ExpertStream stream(path_, all, ExpertStream::least_bytes(all));
  const auto look_at = [&](int64_t layer) {
    expect_region(all[static_cast<size_t>(layer)], stream.acquire(layer));
  };
  look_at(0);
  stream.release(0);
  look_at(1);  // given up with the layer in hand
  for (const int64_t layer : {0, 1, 2}) {
    look_at(layer);
    stream.release(layer);
  }
  for (int64_t layer = 0; layer < 5; ++layer) {  // given up between layers
    look_at(layer);
    stream.release(layer);
  }
}

TEST_F(ExpertStreamTest, EveryRoundGivesEveryLayer) {
  for (const int64_t layers : {1, 2, 3, 7}) {
    const std::vector<ExpertRegion> all = regions(layers);
    const uint64_t least = ExpertStream::least_bytes(all);
    for (const uint64_t budget : {least, least + 3 * kPage, least + 9 * kPage, 100 * kPage}) {
      ExpertStream stream(path_, all, budget);
      for (int round = 0; round < 3; ++round) {
        for (int64_t layer = 0; layer < layers; ++layer) {
          expect_region(all[static_cast<size_t>(layer)], stream.acquire(layer));
          stream.release(layer);
        }
      }
    }
  }
}

TEST_F(ExpertStreamTest, BudgetDecidesHowManyLayersStay) {
  const std::vector<ExpertRegion> all = regions(7);
  EXPECT_EQ(ExpertStream(path_, all, ExpertStream::least_bytes(all)).resident_layers(), 0);
  EXPECT_EQ(ExpertStream(path_, all, 5 * 3 * kPage).resident_layers(), 2);
  const ExpertStream whole(path_, all, 100 * kPage);
  EXPECT_EQ(whole.resident_layers(), 7);
  EXPECT_EQ(whole.streamed_bytes(), 0U);
}

TEST_F(ExpertStreamTest, FileThatEndsTooEarlyIsToldWhenItIsNeeded) {
  std::vector<ExpertRegion> all = regions(4);
  all.back().offset = 39 * kPage;
  all.back().bytes = 3 * kPage;
  ExpertStream stream(path_, all, ExpertStream::least_bytes(all));
  for (int64_t layer = 0; layer < 3; ++layer) {
    expect_region(all[static_cast<size_t>(layer)], stream.acquire(layer));
    stream.release(layer);
  }
  EXPECT_THROW(stream.acquire(3), base::Error);
}

TEST_F(ExpertStreamTest, AbsentFileIsRefused) {
  EXPECT_THROW(ExpertStream("/nowhere/x", regions(2), 100 * kPage), base::Error);
}

}  // namespace
}  // namespace ditmoe::networks
