#include "ditmoe/formats/folder.h"

#include <filesystem>
#include <memory>
#include <unistd.h>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/checksum.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/safetensors_folder.h"

#include "temp_dir.h"

namespace ditmoe::formats {
namespace {

namespace fs = std::filesystem;

using base::ErrorKind;
using test::expect_error;

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
  fs::create_directory_symlink(path("nothing"), path("link"));
  expect_error(
      [&] { rename_folder(path("a"), path("link")); }, ErrorKind::kFailure, "exists already");
  const std::string name(300, 'n');
  expect_error([&] { rename_folder(path("a"), path(name)); }, ErrorKind::kFailure, "too long");
}

TEST_F(FolderTest, FoldersBesideAreNewWhateverWasLeft) {
  const std::string first = make_folder_beside(path("b"));
  const std::string second = make_folder_beside(path("b"));
  EXPECT_NE(first, second);
  EXPECT_TRUE(first.starts_with(path("b.tmp.")));
  EXPECT_TRUE(fs::is_directory(first));
  EXPECT_TRUE(fs::is_directory(second));
  expect_error(
      [&] { make_folder_beside(path("none/b")); }, ErrorKind::kFailure, "cannot be made: No such");
}

TEST_F(FolderTest, ContentsMoveUpIntoAFolderThatIsOtherwiseEmpty) {
  fs::create_directories(path("a/b"));
  write_text(path("a/b/1"), "one");
  write_text(path("a/b/2"), "two");
  move_up(path("a/b"));
  EXPECT_EQ(read_text(path("a/1")), "one");
  EXPECT_EQ(read_text(path("a/2")), "two");
  EXPECT_FALSE(fs::exists(path("a/b")));

  fs::create_directories(path("a/c"));
  write_text(path("a/c/1"), "another");
  expect_error([&] { move_up(path("a/c")); }, ErrorKind::kFailure, "c to be alone in it");
  EXPECT_EQ(read_text(path("a/1")), "one");
}

TEST_F(FolderTest, NamesThatCannotBeWrittenAreRefused) {
  expect_usable_name(path("b"));
  expect_usable_name(path("a"));
  expect_error([] { expect_usable_name(""); }, ErrorKind::kBadInput, "found none");
  const std::string long_name = path(std::string(250, 'n'));
  expect_error(
      [&] { expect_usable_name(long_name); }, ErrorKind::kBadInput, "expected a shorter name");
  expect_error(
      [&] { expect_new_folder(long_name); }, ErrorKind::kBadInput, "expected a shorter name");
  fs::create_directory_symlink(path("nothing"), path("link"));
  for (const std::string& name : {path("a"), path("a/"), path("link"), path("link/")}) {
    expect_error([&] { expect_new_folder(name); }, ErrorKind::kBadInput, "exists already");
  }
  expect_error([] { expect_new_folder(""); }, ErrorKind::kBadInput, "found none");
}

TEST_F(FolderTest, FilesThatAreReadAreKnownByAnyName) {
  write_text(path("a/file"), "text");
  fs::create_directory_symlink(path("a"), path("link"));
  expect_none_of(path("a/other"), {path("a/file"), path("none")});
  expect_none_of(path("none"), {path("none")});
  for (const char* name : {"a/file", "link/file", "a/../a/file"}) {
    expect_error(
        [&] {
          expect_none_of(path(name), {path("none"), path("a/file")});
        },
        ErrorKind::kBadInput,
        "would replace",
        path(name));
  }
}

TEST_F(FolderTest, IndexThatWouldNotBeReadIsRefused) {
  // Two shards; the names of the other tensors take more than an index may.
  std::vector<TensorEntry> tensors = {{"a", base::DType::kF64, {1}, 0, 0},
                                      {"b", base::DType::kF64, {1}, 0, 0}};
  for (int i = 0; i < 20'000; ++i) {
    tensors.push_back({fmt::format("{:0250}", i), base::DType::kF64, {0}, 0, 0});
  }
  expect_error([&] { SafetensorsFolderWriter(path("m"), "model", tensors, {}, 8); },
               ErrorKind::kBadInput,
               "index takes at most 4194304 bytes, found 20002",
               path("m"));
  EXPECT_FALSE(fs::exists(path("m")));
  SafetensorsFolderWriter(path("m"), "model", tensors, {}, 16);  // one file needs none
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
