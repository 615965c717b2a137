#include "ditmoe/formats/npz.h"

#include <array>
#include <cstring>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "npy_bytes.h"
#include "temp_dir.h"
#include "zip_bytes.h"

namespace ditmoe::formats {
namespace {

using base::DType;
using base::ErrorKind;
using base::Tensor;
using test::dict;
using test::expect_error;
using test::npy;
using test::TempDir;
using test::with_zip64_end;
using test::zip_of;
using test::ZipPart;

TEST(NpzTest, EveryTypeRoundTrips) {
  const TempDir dir;
  for (const DType dtype : {DType::kF64,
                            DType::kF32,
                            DType::kF16,
                            DType::kI64,
                            DType::kI32,
                            DType::kI16,
                            DType::kI8,
                            DType::kU8,
                            DType::kBool}) {
    Tensor tensor(dtype, {2, 3});
    for (size_t i = 0; i < tensor.bytes(); ++i) tensor.data()[i] = std::byte(i % 2);
    write_npz(dir.file("a.npz"), {{"t", tensor.view()}});
    const auto arrays = read_npz(dir.file("a.npz"));
    const Tensor& read = array(arrays, "t", "a.npz");
    EXPECT_EQ(read.dtype(), dtype);
    EXPECT_EQ(read.shape(), tensor.shape());
    EXPECT_EQ(std::memcmp(read.view().data, tensor.view().data, tensor.bytes()), 0);
  }
}

TEST(NpzTest, ScalarVectorEmptyAndManyArraysRoundTrip) {
  const TempDir dir;
  const Tensor scalar = Tensor::from({}, std::array{1.0F});
  const Tensor vector = Tensor::from({2}, std::array{2.0F, 3.0F});
  const Tensor empty(DType::kI64, {3, 0});
  write_npz(dir.file("a.npz"),
            {{"scalar", scalar.view()}, {"grad/a.b", vector.view()}, {"empty", empty.view()}});
  const auto arrays = read_npz(dir.file("a.npz"));
  ASSERT_EQ(arrays.size(), 3U);
  EXPECT_TRUE(arrays.at("scalar").shape().empty());
  EXPECT_EQ(arrays.at("grad/a.b").as<float>()[1], 3.0F);
  EXPECT_EQ(arrays.at("empty").shape(), (base::Shape{3, 0}));
}

TEST(NpzTest, SameArraysGiveTheSameBytes) {
  const TempDir dir;
  const Tensor tensor(DType::kF32, {5});
  write_npz(dir.file("a"), {{"t", tensor.view()}});
  write_npz(dir.file("b"), {{"t", tensor.view()}});
  EXPECT_EQ(test::bytes_of(dir.file("a")), test::bytes_of(dir.file("b")));
}

// Sizes behind the data, as writers have it that cannot go back: of 4 or 8 bytes, with a signature
// or without one, the header before them empty.
TEST(NpzTest, SizesMayFollowTheData) {
  const std::string content = test::npy(test::dict("'|u1'", "False", "(4,)"), 4);
  for (const bool is_long : {false, true}) {
    for (const bool is_signed : {false, true}) {
      constexpr size_t kTail = 22 + 51;
      std::string zip = test::zip_of({{.name = "a.npy", .content = content, .flags = 8}});
      std::string descriptor = is_signed ? "PK\x07\x08" : "";
      descriptor += zip.substr(14, 4);
      for (int i = 0; i < 2; ++i) {
        if (is_long) {
          append_little(descriptor, uint64_t{content.size()});
        } else {
          append_little(descriptor, static_cast<uint32_t>(content.size()));
        }
      }
      std::string offset;
      append_little(offset, static_cast<uint32_t>(zip.size() - kTail + descriptor.size()));
      zip.insert(zip.size() - kTail, descriptor).replace(zip.size() - 6, 4, offset);
      zip.replace(14, 12, 12, '\0');
      const test::TempDir dir;
      EXPECT_EQ(read_npz(dir.put("a.npz", zip)).at("a").size(), 4) << descriptor.size();
    }
  }
}

TEST(NpzTest, NoArraysRoundTrip) {
  const TempDir dir;
  write_npz(dir.file("a"), {});
  EXPECT_TRUE(read_npz(dir.file("a")).empty());
}

TEST(NpzTest, ArrayNamesTheMissingOne) {
  expect_error([] { array({}, "x", "a.npz"); }, ErrorKind::kBadInput, "a.npz: expected array 'x'");
}

TEST(NpzTest, WriterRefusesBf16AndRepeatedNames) {
  const TempDir dir;
  const Tensor half(DType::kBF16, {1});
  const Tensor full(DType::kF32, {1});
  const std::string path = dir.file("a");
  expect_error([&] { write_npz(path, {{"t", half.view()}}); }, ErrorKind::kFailure, "BF16");
  expect_error(
      [&] {
        write_npz(path, {{"t", full.view()}, {"t", full.view()}});
      },
      ErrorKind::kFailure,
      "twice");
  EXPECT_EQ(dir.count(), 0U);
}

const std::string kGood = npy(dict("'|u1'", "False", "(4,)"), 4);

TEST(NpzTest, DeflatedEntriesAndLaterVersionsAreRead) {
  const TempDir dir;
  const std::string second = npy(dict("'|u1'", "False", "(2, 2)"), 4, 2);
  const std::string third = npy(dict("\"|b1\"", "False", "()"), 1, 3);
  const std::string path = dir.put("a",
                                   zip_of({{.name = "a.npy", .content = kGood, .deflated = true},
                                           {.name = "b.npy", .content = second},
                                           {.name = "c.npy", .content = third, .flags = 0x808}}));
  const auto arrays = read_npz(path);
  EXPECT_EQ(arrays.at("a").as<uint8_t>()[3], 1);
  EXPECT_EQ(arrays.at("b").shape(), (base::Shape{2, 2}));
  EXPECT_TRUE(arrays.at("c").as<bool>()[0]);
}

TEST(NpzTest, Zip64IsRead) {
  const TempDir dir;
  const std::string zip = zip_of({{.name = "a.npy", .content = kGood, .zip64 = true},
                                  {.name = "b.npy", .content = kGood, .deflated = true}});
  const auto arrays = read_npz(dir.put("a", with_zip64_end(zip)));
  EXPECT_EQ(arrays.at("a").as<uint8_t>()[3], 1);
  EXPECT_EQ(arrays.at("b").size(), 4);
}

std::string one(const std::string& content) {
  return zip_of({{.name = "a.npy", .content = content}});
}

TEST(NpzTest, EveryTruncationIsBadInput) {
  const TempDir dir;
  const std::string whole = one(kGood);
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string path = dir.put("cut", std::string_view(whole).substr(0, size));
    expect_error([&] { read_npz(path); }, ErrorKind::kBadInput, path);
  }
}

TEST(NpzTest, NoFlippedBitGoesUnnoticedOrCrashes) {
  const TempDir dir;
  const std::string whole = zip_of({{.name = "a.npy", .content = kGood, .deflated = true}});
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    try {
      const auto arrays = read_npz(dir.put("damaged", damaged));
      // What a reader may ignore: versions, dates, attributes. The data must be right.
      for (const auto& [name, tensor] : arrays) {
        ASSERT_EQ(tensor.bytes(), 4U) << "bit " << bit;
        EXPECT_EQ(std::memcmp(tensor.view().data, "\x01\x01\x01\x01", 4), 0) << "bit " << bit;
      }
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << error.what();
    }
  }
}

}  // namespace
}  // namespace ditmoe::formats
