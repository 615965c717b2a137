#include "ditmoe/formats/file.h"

#include <csignal>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "temp_dir.h"

namespace ditmoe::formats {
namespace {

using base::ErrorKind;
using test::bytes_of;
using test::expect_error;
using test::TempDir;

TEST(MappedFileTest, BytesOutliveTheObjectInACopy) {
  const TempDir dir;
  MappedFile copy;
  {
    const MappedFile file = MappedFile::open(dir.put("a", "abc"));
    copy = file;
  }
  ASSERT_EQ(copy.bytes().size(), 3U);
  EXPECT_EQ(copy.bytes()[2], std::byte{'c'});
}

TEST(MappedFileTest, EmptyFileHasNoBytes) {
  const TempDir dir;
  EXPECT_TRUE(MappedFile::open(dir.put("a", "")).bytes().empty());
}

TEST(MappedFileTest, MissingFileIsBadInput) {
  const TempDir dir;
  const std::string path = dir.file("missing");
  expect_error([&] { MappedFile::open(path); }, ErrorKind::kBadInput, path);
}

TEST(MappedFileTest, FolderPipeAndLinkLoopAreBadInput) {
  const TempDir dir;
  const std::string pipe = dir.file("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const std::string loop = dir.file("loop");
  std::filesystem::create_symlink(loop, loop);
  expect_error([&] { MappedFile::open(dir.path().string()); }, ErrorKind::kBadInput, "a folder");
  expect_error([&] { MappedFile::open(pipe); }, ErrorKind::kBadInput, "a pipe");
  expect_error([&] { MappedFile::open(loop); }, ErrorKind::kBadInput, loop);
}

constexpr size_t kPages = 4;

size_t page_bytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

TEST(MappedFileTest, PagesOfAShrunkFileReadAsZerosAndAreNoticed) {
  const TempDir dir;
  const std::string path = dir.put("a", std::string(kPages * page_bytes(), 'x'));
  const MappedFile file = MappedFile::open(path);
  file.expect_whole();
  std::filesystem::resize_file(path, page_bytes() + 10);
  EXPECT_EQ(file.bytes()[0], std::byte{'x'});
  EXPECT_EQ(file.bytes()[kPages * page_bytes() - 1], std::byte{0});
  EXPECT_EQ(file.bytes()[2 * page_bytes()], std::byte{0});
  std::filesystem::resize_file(path, kPages * page_bytes());  // what was read stays wrong
  expect_error([&] { file.expect_whole(); }, ErrorKind::kBadInput, "became shorter", path + ": ");
}

TEST(MappedFileTest, BytesMissingFromTheLastPageAreNoticed) {
  const TempDir dir;
  const std::string path = dir.put("a", "abc");
  const MappedFile file = MappedFile::open(path);
  std::filesystem::resize_file(path, 2);
  EXPECT_EQ(file.bytes()[2], std::byte{0});
  expect_error([&] { file.expect_whole(); }, ErrorKind::kBadInput, "became shorter");
}

TEST(MappedFileTest, AnotherFileAtTheSameAddressIsWhole) {
  const TempDir dir;
  const std::string path = dir.put("a", std::string(kPages * page_bytes(), 'x'));
  for (int i = 0; i < 3; ++i) {
    std::filesystem::resize_file(path, kPages * page_bytes());
    const MappedFile file = MappedFile::open(path);
    file.expect_whole();
    std::filesystem::resize_file(path, 0);
    EXPECT_EQ(file.bytes()[0], std::byte{0});
    expect_error([&] { file.expect_whole(); }, ErrorKind::kBadInput, "became shorter");
  }
}

// A page behind the end of a file, mapped by somebody else.
const volatile char* lost_page(const TempDir& dir) {
  const int descriptor = open(dir.put("other", "").c_str(), O_RDONLY);
  void* page = mmap(nullptr, page_bytes(), PROT_READ, MAP_PRIVATE, descriptor, 0);
  close(descriptor);
  return static_cast<const char*>(page);
}

TEST(MappedFileDeathTest, FaultsElsewhereGoToTheHandlerBefore) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto fault = [] {
    const TempDir dir;
    std::signal(SIGBUS, [](int) { _exit(7); });
    const MappedFile file = MappedFile::open(dir.put("a", "abc"));
    [[maybe_unused]] const char lost = *lost_page(dir);
  };
  EXPECT_EXIT(fault(), testing::ExitedWithCode(7), "");
}

TEST(MappedFileDeathTest, FaultsElsewhereAreFatalWithoutAHandler) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto fault = [] {
    const TempDir dir;
    std::signal(SIGBUS, SIG_DFL);
    const MappedFile file = MappedFile::open(dir.put("a", "abc"));
    [[maybe_unused]] const char lost = *lost_page(dir);
  };
  EXPECT_EXIT(fault(), testing::KilledBySignal(SIGBUS), "");
}

TEST(AtomicFileTest, AppearsOnCommitOnly) {
  const TempDir dir;
  const std::string path = dir.put("a", "old");
  {
    AtomicFile file(path);
    file.write("new");
    EXPECT_EQ(bytes_of(path), "old");
    file.commit();
  }
  EXPECT_EQ(bytes_of(path), "new");
  EXPECT_EQ(dir.count(), 1U);
}

TEST(AtomicFileTest, LeavesNothingBehindWithoutCommit) {
  const TempDir dir;
  { AtomicFile(dir.file("a")).write("partial"); }
  EXPECT_EQ(dir.count(), 0U);
}

TEST(AtomicFileDeathTest, LeavesNothingBehindWhenTheProcessIsKilled) {
  const TempDir dir;
  const int nameless = ::open(dir.path().c_str(), O_TMPFILE | O_WRONLY, 0600);
  if (nameless < 0) GTEST_SKIP() << "this file system has no files without a name";
  ::close(nameless);
  EXPECT_EXIT(
      {
        AtomicFile file(dir.file("a"));
        file.write(std::string(1 << 20, 'x'));
        ::raise(SIGKILL);
      },
      testing::KilledBySignal(SIGKILL),
      "");
  EXPECT_EQ(dir.count(), 0U);
}

TEST(AtomicFileTest, HasTheUsualPermissions) {
  const TempDir dir;
  const mode_t mask = umask(022);
  write_text(dir.file("a"), "x");
  umask(mask);
  struct stat status = {};
  ASSERT_EQ(stat(dir.file("a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0644U);
}

TEST(AtomicFileTest, MissingFolderIsAFailureThatNamesThePath) {
  const TempDir dir;
  const std::string path = dir.file("missing/a");
  expect_error([&] { AtomicFile file(path); }, ErrorKind::kFailure, path);
}

TEST(AtomicFileTest, NeverReplacesAFolderOrADevice) {
  const TempDir dir;
  expect_error([&] { AtomicFile file(dir.path().string()); }, ErrorKind::kFailure, "not a regular");
  expect_error([&] { AtomicFile file("/dev/null"); }, ErrorKind::kFailure, "/dev/null");
}

TEST(TextTest, RoundTrip) {
  const TempDir dir;
  const std::string text("a\0b\n", 4);
  write_text(dir.file("a"), text);
  EXPECT_EQ(read_text(dir.file("a")), text);
}

TEST(TextTest, LimitIsInclusive) {
  const TempDir dir;
  const std::string path = dir.put("a", "1234");
  EXPECT_EQ(read_text(path, 4), "1234");
  expect_error([&] { read_text(path, 3); }, ErrorKind::kBadInput, "at most 3 bytes, found 4");
}

}  // namespace
}  // namespace ditmoe::formats
