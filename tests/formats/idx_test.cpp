#include "ditmoe/formats/idx.h"

#include <gtest/gtest.h>

#include "idx_bytes.h"
#include "temp_dir.h"

namespace ditmoe::formats {
namespace {

using base::ErrorKind;
using test::expect_error;
using test::gzip;
using test::idx_header;
using test::TempDir;

const std::string kGood = idx_header(8, {2, 3}) + "abcdef";

void expect_good(const base::Tensor& tensor) {
  EXPECT_EQ(tensor.dtype(), base::DType::kU8);
  EXPECT_EQ(tensor.shape(), (base::Shape{2, 3}));
  EXPECT_EQ(tensor.as<uint8_t>()[5], 'f');
}

TEST(IdxTest, PlainAndGzipGiveTheSame) {
  const TempDir dir;
  expect_good(read_idx(dir.put("plain", kGood)));
  expect_good(read_idx(dir.put("gzip", gzip(kGood))));
}

TEST(IdxTest, LargeGzipIsWhole) {
  const TempDir dir;
  const auto tensor =
      read_idx(dir.put("a", gzip(idx_header(8, {3'000'000}) + std::string(3'000'000, 'x'))));
  EXPECT_EQ(tensor.size(), 3'000'000);
  EXPECT_EQ(tensor.as<uint8_t>().back(), 'x');
}

TEST(IdxTest, EveryTruncationIsBadInput) {
  const TempDir dir;
  for (const std::string& whole : {kGood, gzip(kGood)}) {
    for (size_t size = 0; size < whole.size(); ++size) {
      const std::string path = dir.put("cut", std::string_view(whole).substr(0, size));
      expect_error([&] { read_idx(path); }, ErrorKind::kBadInput, path);
    }
  }
}

}  // namespace
}  // namespace ditmoe::formats
