#include "ditmoe/formats/crc32c.h"

#include <string>

#include <gtest/gtest.h>

namespace ditmoe::formats {
namespace {

uint32_t crc_of(const std::string& text) { return crc32c(std::as_bytes(std::span(text))); }

std::string counted(char first, int step) {
  std::string bytes;
  for (int i = 0; i < 32; ++i) bytes += static_cast<char>(first + step * i);
  return bytes;
}

// RFC 3720, B.4; its bytes are printed lowest first.
TEST(Crc32cTest, ExamplesOfTheStandard) {
  EXPECT_EQ(crc_of(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc_of(std::string(32, '\xff')), 0x62A8AB43U);
  EXPECT_EQ(crc_of(counted(0, 1)), 0x46DD794EU);
  EXPECT_EQ(crc_of(counted(31, -1)), 0x113FDB5CU);
  std::string command(48, '\0');  // a SCSI read
  command[0] = 0x01;
  command[1] = static_cast<char>(0xC0);
  command[16] = 0x14;
  command[22] = 0x04;
  command[27] = 0x14;
  command[31] = 0x18;
  command[32] = 0x28;
  command[40] = 0x02;
  EXPECT_EQ(crc_of(command), 0xD9963A56U);
}

// The check value of CRC catalogues.
TEST(Crc32cTest, LengthsThatAreNoMultipleOfEight) {
  EXPECT_EQ(crc_of("123456789"), 0xE3069283U);
  EXPECT_EQ(crc_of(""), 0U);
  EXPECT_EQ(crc_of("a"), 0xC1D04330U);
}

// Bit by bit, as the polynomial says.
uint32_t slow_crc_of(const std::string& text) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : text) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0x82F63B78U : 0U);
  }
  return ~crc;
}

TEST(Crc32cTest, EveryLengthAndAlignment) {
  std::string text;
  for (int i = 0; i < 64; ++i) text += static_cast<char>(i * 37 + 11);
  for (size_t begin = 0; begin < 9; ++begin) {
    for (size_t size = 0; begin + size <= text.size(); ++size) {
      const std::string part = text.substr(begin, size);
      const auto bytes = std::as_bytes(std::span(text)).subspan(begin, size);
      ASSERT_EQ(crc32c(bytes), slow_crc_of(part)) << begin << " " << size;
    }
  }
}

}  // namespace
}  // namespace ditmoe::formats
