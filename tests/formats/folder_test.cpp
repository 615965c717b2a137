#include "ditmoe/formats/folder.h"

#include <filesystem>
#include <memory>
#include <unistd.h>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/checksum.h"
#include "ditmoe/formats/file.h"

namespace ditmoe::formats {
namespace {

namespace fs = std::filesystem;

class FolderTest : public ::testing::Test {
 protected:
  FolderTest() : root_(fs::temp_directory_path() / fmt::format("ditmoe-folder-{}", getpid())) {
    fs::create_directories(root_ / "a");
  }

  ~FolderTest() override { fs::remove_all(root_); }

  std::string path(const std::string& name) const { return (root_ / name).string(); }

  fs::path root_;
};

TEST_F(FolderTest, RenamesWithContents) {
  write_text(path("a/file"), "text");
  rename_folder(path("a"), path("b"));
  EXPECT_FALSE(fs::exists(path("a")));
  EXPECT_EQ(read_text(path("b/file")), "text");
}

TEST_F(FolderTest, DoesNotReplaceAnExistingName) {
  fs::create_directories(path("b"));
  EXPECT_THROW(rename_folder(path("a"), path("b")), base::Error);
  EXPECT_TRUE(fs::exists(path("a")));
}

TEST_F(FolderTest, LockExcludesASecondHolderUntilReleased) {
  auto first = std::make_unique<FolderLock>(path("a"));
  EXPECT_THROW(FolderLock(path("a")), base::Error);
  first.reset();
  EXPECT_NO_THROW(FolderLock(path("a")));
}

TEST_F(FolderTest, ChecksumIsTheCrc32OfZip) {
  write_text(path("a/file"), "123456789");  // the check value of CRC-32/ISO-HDLC
  const Checksum checksum = checksum_of(path("a/file"));
  EXPECT_EQ(checksum.bytes, 9U);
  EXPECT_EQ(checksum.crc32, 0xCBF43926U);
  write_text(path("a/empty"), "");
  EXPECT_EQ(checksum_of(path("a/empty")).bytes, 0U);
  EXPECT_EQ(checksum_of(path("a/empty")).crc32, 0U);
}

}  // namespace
}  // namespace ditmoe::formats
