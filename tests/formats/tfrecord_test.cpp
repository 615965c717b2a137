#include "ditmoe/formats/tfrecord.h"

#include <bit>
#include <gmock/gmock.h>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/crc32c.h"

namespace ditmoe::formats {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string record_of(const std::string& content) {
  std::string out;
  append_tfrecord(out, content);
  return out;
}

struct Read {
  std::vector<std::string> contents;
  size_t end = 0;
  std::string damage;
};

Read read(const std::string& file) {
  TfrecordReader reader(bytes_of(file));
  Read result;
  while (const auto content = reader.next()) {
    result.contents.emplace_back(reinterpret_cast<const char*>(content->data()), content->size());
  }
  EXPECT_EQ(reader.next(), std::nullopt);  // and stays there
  result.end = reader.offset();
  result.damage = reader.damage();
  return result;
}

// With what an event file of TensorFlow begins, as TensorBoard's own tests show it.
TEST(TfrecordTest, BytesOfARecord) {
  const std::string content =
      "\x09" + std::string("\0\0\x80\x38\x99\xd6\xd7\x41", 8) + "\x1a\x0d" + "brain.Event:2";
  const std::string length = std::string("\x18\0\0\0\0\0\0\0", 8);
  EXPECT_EQ(record_of(content), length + "\xa3\x7f\x4b\x22" + content + "\x12\x4b\x36\xab");
}

TEST(TfrecordTest, RoundTrip) {
  const std::string binary("\0\xff\n", 3);
  const std::string file = record_of("a") + record_of("") + record_of(binary);
  const Read result = read(file);
  EXPECT_THAT(result.contents, ElementsAre("a", "", binary));
  EXPECT_EQ(result.end, file.size());
  EXPECT_EQ(result.damage, "");
}

TEST(TfrecordTest, EmptyFileHasNoRecords) {
  EXPECT_THAT(read("").contents, ElementsAre());
  EXPECT_EQ(read("").damage, "");
}

TEST(TfrecordTest, CutAnywhereReadsUpToTheLastWholeRecord) {
  const std::string first = record_of("first");
  const std::string file = first + record_of("second");
  for (size_t size = 0; size < file.size(); ++size) {
    const Read result = read(file.substr(0, size));
    const size_t expected = size < first.size() ? 0 : 1;
    EXPECT_EQ(result.contents.size(), expected) << size;
    EXPECT_EQ(result.end, expected * first.size()) << size;
    EXPECT_EQ(result.damage.empty(), size == 0 || size == first.size()) << size;
  }
}

TEST(TfrecordTest, EveryFlippedBitIsNoticed) {
  const std::string first = record_of("first");
  const std::string file = first + record_of("second") + record_of("third");
  for (size_t bit = 0; bit < 8 * record_of("second").size(); ++bit) {
    std::string damaged = file;
    const size_t place = first.size() + bit / 8;
    damaged[place] = static_cast<char>(damaged[place] ^ (1 << bit % 8));
    const Read result = read(damaged);
    EXPECT_THAT(result.contents, ElementsAre("first")) << bit;
    EXPECT_EQ(result.end, first.size()) << bit;
    EXPECT_THAT(result.damage, HasSubstr("expected")) << bit;
  }
}

// A head whose checksum is right, whatever length it tells.
std::string head_of(uint64_t length) {
  std::string head;
  append_little(head, length);
  append_little(head, std::rotr(crc32c(bytes_of(head)), 15) + 0xA282EAD8);
  return head;
}

TEST(TfrecordTest, DamageSaysWhereAndWhat) {
  const std::string good = record_of("good");  // 20 bytes
  const auto damage = [&](const std::string& file) { return read(good + file).damage; };
  EXPECT_EQ(damage("x"), "byte 20: expected 12 bytes of a record's head, found 1");
  EXPECT_EQ(damage(std::string(12, '\0')), "byte 28: expected checksum 07980329, found 00000000");
  EXPECT_EQ(damage(head_of(3) + "abc"), "byte 32: expected 7 more bytes of a record, found 3");
  EXPECT_EQ(damage(head_of(3) + "abc1234"), "byte 35: expected checksum 21f1576e, found 34333231");
}

TEST(TfrecordTest, LengthsBeyondTheFileOrTheLimitAreDamage) {
  EXPECT_THAT(read(head_of(kMaxTfrecordBytes) + "abc").damage, HasSubstr("33554436 more bytes"));
  for (const uint64_t length : {kMaxTfrecordBytes + 1, uint64_t{1} << 63, ~uint64_t{0}}) {
    EXPECT_THAT(read(head_of(length) + "abc").damage,
                HasSubstr("byte 0: expected a record of at most 33554432 bytes, found "))
        << length;
  }
}

}  // namespace
}  // namespace ditmoe::formats
