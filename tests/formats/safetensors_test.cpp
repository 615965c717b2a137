#include "ditmoe/formats/safetensors.h"

#include <array>
#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/base/json.h"
#include "ditmoe/formats/bytes.h"

#include "safetensors_bytes.h"
#include "temp_dir.h"

namespace ditmoe::formats {
namespace {

using base::DType;
using base::ErrorKind;
using base::Tensor;
using test::expect_error;
using test::file_of;
using test::TempDir;
using test::two;

TEST(SafetensorsTest, RoundTripKeepsTensorsAndMetadata) {
  const TempDir dir;
  const Tensor weights = Tensor::from({2, 3}, std::array{1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F});
  const Tensor scalar = Tensor::from({}, std::array{7.0F});
  const Tensor empty(DType::kBF16, {0, 5});
  const std::string path = dir.file("a.safetensors");
  write_safetensors(path,
                    {{"w", weights.view()}, {"\u00e9\"\n", scalar.view()}, {"empty", empty.view()}},
                    {{"format", "pt"}, {"quote\"", "line\nline"}});

  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_EQ(file.path(), path);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.metadata().at("quote\""), "line\nline");
  ASSERT_EQ(file.entries().size(), 3U);
  EXPECT_EQ(file.entries()[0].name, "w");
  EXPECT_EQ(file.entries()[0].shape, (base::Shape{2, 3}));
  EXPECT_EQ(file.view("w").as<float>()[5], 6.0F);
  EXPECT_EQ(file.view("\u00e9\"\n").as<float>()[0], 7.0F);
  EXPECT_EQ(file.view("empty").bytes(), 0U);
  EXPECT_TRUE(file.contains("empty"));
  EXPECT_FALSE(file.contains("absent"));
}

TEST(SafetensorsTest, EveryTypeRoundTrips) {
  const TempDir dir;
  for (const DType dtype : {DType::kF64,
                            DType::kF32,
                            DType::kF16,
                            DType::kBF16,
                            DType::kI64,
                            DType::kI32,
                            DType::kI16,
                            DType::kI8,
                            DType::kU8,
                            DType::kBool}) {
    Tensor tensor(dtype, {3});
    for (size_t i = 0; i < tensor.bytes(); ++i) tensor.data()[i] = std::byte(i % 2);
    const std::string path = dir.file("a.safetensors");
    write_safetensors(path, {{"t", tensor.view()}});
    const auto view = SafetensorsFile::open(path).view("t");
    EXPECT_EQ(view.dtype, dtype);
    const auto file = SafetensorsFile::open(path);
    EXPECT_EQ(std::memcmp(file.view("t").data, tensor.view().data, tensor.bytes()), 0);
  }
}

TEST(SafetensorsTest, DataIsAlignedForItsType) {
  const TempDir dir;
  const Tensor odd(DType::kU8, {3});
  const Tensor half(DType::kBF16, {5});
  const Tensor full(DType::kF32, {1});
  const std::string path = dir.file("a.safetensors");
  write_safetensors(path, {{"odd", odd.view()}, {"half", half.view()}, {"full", full.view()}});
  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_EQ(file.entries()[0].name, "full");
  EXPECT_EQ(file.entries()[0].offset % 64, 0U);
  EXPECT_EQ(file.entries()[1].offset % 2, 0U);
}

TEST(SafetensorsTest, WriterRefusesNamesTheFormatForbids) {
  const TempDir dir;
  const Tensor tensor(DType::kF32, {1});
  const std::string path = dir.file("a.safetensors");
  const auto view = tensor.view();
  expect_error(
      [&] {
        write_safetensors(path, {{"a", view}, {"a", view}});
      },
      ErrorKind::kFailure,
      "\"a\" is taken");
  expect_error(
      [&] {
        write_safetensors(path, {{"__metadata__", view}});
      },
      ErrorKind::kFailure,
      "reserved");
  expect_error([&] { write_safetensors(path, {{"\xff", view}}); }, ErrorKind::kFailure, "UTF-8");
  EXPECT_EQ(dir.count(), 0U);
}

// Names are keys, never paths.
TEST(SafetensorsTest, NamesLeadNowhere) {
  const TempDir dir;
  const Tensor tensor = Tensor::from({1}, std::array{1.0F});
  const std::string name("../../etc/passwd\n\0", 18);
  write_safetensors(dir.file("a"), {{name, tensor.view()}});
  EXPECT_EQ(SafetensorsFile::open(dir.file("a")).view(name).shape, base::Shape{1});
  EXPECT_EQ(dir.count(), 1U);
}

TEST(SafetensorsTest, WriterRefusesWhatTheReaderWould) {
  const TempDir dir;
  const std::string path = dir.file("a.safetensors");
  std::vector<SafetensorsEntry> entries;
  for (size_t i = 0; i < kMaxSafetensorsTensors; ++i) {
    entries.push_back({fmt::format("t{}", i), DType::kF32, {0}, 0, 0});
  }
  SafetensorsWriter(path, entries, {}).commit();
  EXPECT_EQ(SafetensorsFile::open(path).entries().size(), kMaxSafetensorsTensors);
  entries.push_back({"more", DType::kF32, {0}, 0, 0});
  expect_error([&] { SafetensorsWriter(path, entries, {}); },
               ErrorKind::kBadInput,
               "expected at most 65536 tensors, found 65537",
               path);

  const std::string text(kMaxSafetensorsMetadataBytes, 'x');
  expect_error(
      [&] {
        SafetensorsWriter(path, {}, {{"k", text}});
      },
      ErrorKind::kBadInput,
      "__metadata__: expected at most 16777216 bytes, found 16777217");
  const std::string controls(kMaxSafetensorsMetadataBytes - 1, '\1');  // of six bytes as JSON
  expect_error(
      [&] {
        SafetensorsWriter(path, {}, {{"k", controls}});
      },
      ErrorKind::kBadInput,
      "expected a header of at most 100000000 bytes, found 1006");
  expect_error(
      [&] {
        SafetensorsWriter(path, {{std::string(1025, 'n'), DType::kF32, {0}, 0, 0}}, {});
      },
      ErrorKind::kBadInput,
      "expected a name of at most 1024 bytes");
  EXPECT_EQ(dir.count(), 1U);
}

TEST(SafetensorsTest, UnknownNameIsBadInput) {
  const TempDir dir;
  write_safetensors(dir.file("a"), {});
  const SafetensorsFile file = SafetensorsFile::open(dir.file("a"));
  EXPECT_TRUE(file.entries().empty());
  expect_error([&] { file.view("x"); }, ErrorKind::kBadInput, "expected a tensor \"x\"");
}

TEST(SafetensorsTest, EveryTruncationIsBadInput) {
  const TempDir dir;
  const Tensor tensor = Tensor::from({2}, std::array{1.0F, 2.0F});
  write_safetensors(dir.file("whole"), {{"t", tensor.view()}}, {{"k", "v"}});
  const std::string whole = test::bytes_of(dir.file("whole"));
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string path = dir.put("cut", std::string_view(whole).substr(0, size));
    expect_error([&] { SafetensorsFile::open(path); }, ErrorKind::kBadInput, path);
  }
}

TEST(SafetensorsTest, HeaderMayEndInSpacesAndOrderDoesNotMatter) {
  const TempDir dir;
  const std::string path = dir.put("a", file_of(two("[4,8]", "[0,4]") + "   ", 8));
  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_EQ(file.entries()[0].name, "b");
  EXPECT_EQ(file.entries()[1].name, "a");
}

}  // namespace
}  // namespace ditmoe::formats
