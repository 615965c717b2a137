// That an image for which there is no memory is not taken for a bad one, whoever wants the memory:
// a library, or our own vectors. A malloc that comes before glibc's, for libraries too. The same of
// open files.

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <sys/resource.h>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/data/image_folder_dataset.h"
#include "ditmoe/data/image_loader.h"
#include "ditmoe/formats/image.h"

#include "image_files.h"
#include "tests/formats/temp_dir.h"
#include "tests/support/jpeg.h"

namespace {

constexpr size_t kMebibyte = size_t{1} << 20;

std::atomic<size_t> most_at_once = SIZE_MAX;

}  // namespace

extern "C" {

void* __libc_malloc(size_t bytes);

void* malloc(size_t bytes) {
  if (bytes <= most_at_once) return __libc_malloc(bytes);
  errno = ENOMEM;
  return nullptr;
}

}  // extern "C"

namespace ditmoe::data {
namespace {

using base::ErrorKind;
using formats::test::bytes_of;
using formats::test::expect_error;
using formats::test::TempDir;

// Lets nothing be allocated that takes more than a mebibyte.
class LittleMemory {
 public:
  LittleMemory() { most_at_once = kMebibyte; }

  ~LittleMemory() { most_at_once = SIZE_MAX; }

  LittleMemory(const LittleMemory&) = delete;
  LittleMemory& operator=(const LittleMemory&) = delete;
};

// Lets this process open no more files.
class NoMoreFiles {
 public:
  NoMoreFiles() {
    getrlimit(RLIMIT_NOFILE, &before_);
    rlimit none = before_;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
  }

  ~NoMoreFiles() { setrlimit(RLIMIT_NOFILE, &before_); }

  NoMoreFiles(const NoMoreFiles&) = delete;
  NoMoreFiles& operator=(const NoMoreFiles&) = delete;

 private:
  rlimit before_ = {};
};

class OutOfMemoryTest : public ::testing::Test {
 protected:
  // A JPEG whose pixels take three mebibytes and, where it is progressive, its coefficients more.
  std::string put_jpeg(bool progressive) const {
    constexpr int kSide = 1024;
    return dir_.put(
        "image.jpg",
        tests::write_jpeg(
            kSide, kSide, 3, tests::picture(kSide, kSide, 3), {.progressive = progressive}));
  }

  // A PNG of one row, which takes libpng a mebibyte and a half.
  std::string put_png() const {
    constexpr int kWidth = 1 << 19;
    const std::string path = dir_.file("image.png");
    formats::write_png(path, {kWidth, 1, 3, tests::picture(kWidth, 1, 3), {}});
    return path;
  }

  void expect_failure_to_load(const std::string& path) const {
    const ImageFolder folder = ImageFolder::open(dir_.path().string());
    ImageLoader whole(folder, 0, 1, 8, 1, 1);
    EXPECT_EQ(whole.next()->error, "");
    const LittleMemory little;
    ImageLoader loader(folder, 0, 1, 8, 1, 1);
    expect_error([&] { loader.next(); }, ErrorKind::kFailure, "out of memory", path + ": ");
  }

  TempDir dir_;
};

TEST_F(OutOfMemoryTest, InLibjpegIsAFailure) {
  const std::string path = put_jpeg(true);
  expect_failure_to_load(path);
  const LittleMemory little;
  expect_error([&] { formats::read_image(path); }, ErrorKind::kFailure, "for a JPEG", path);
}

TEST_F(OutOfMemoryTest, LibjpegsOwnLimitIsAFailure) {
  const std::string path = put_jpeg(true);
  setenv("JPEGMEM", "1", 1);  // kilobytes
  expect_error([&] { formats::read_image(path); }, ErrorKind::kFailure, "for a JPEG", path);
  unsetenv("JPEGMEM");
}

TEST_F(OutOfMemoryTest, InLibpngIsAFailure) {
  const std::string path = put_png();
  expect_failure_to_load(path);
  const LittleMemory little;
  expect_error([&] { formats::read_image(path); }, ErrorKind::kFailure, "for a PNG", path);
}

TEST_F(OutOfMemoryTest, ForThePixelsIsAFailure) { expect_failure_to_load(put_jpeg(false)); }

TEST_F(OutOfMemoryTest, DamageIsStillBadInput) {
  for (const std::string& path : {put_jpeg(true), put_png()}) {
    const std::string whole = bytes_of(path);
    const std::string cut = dir_.put("cut", whole.substr(0, whole.size() / 2));
    expect_error([&] { formats::read_image(cut); }, ErrorKind::kBadInput, "damaged");
  }
}

TEST_F(OutOfMemoryTest, TooManyOpenFilesAreNoFaultOfTheImage) {
  const std::string path = put_png();
  const ImageFolder folder = ImageFolder::open(dir_.path().string());
  const NoMoreFiles none;
  ImageLoader loader(folder, 0, 1, 8, 1, 1);
  expect_error([&] { loader.next(); }, ErrorKind::kFailure, "cannot be opened", path + ": ");
}

TEST_F(OutOfMemoryTest, FaultsOfTheMachineAreNoFaultsOfADataSetsImages) {
  test::put_png(dir_, "00000.png", 7, 0);
  const auto dataset = ImageFolderDataset::open(dir_.path().string(), 6, 3);
  std::vector<float> out(3 * 6 * 6);
  {
    const NoMoreFiles no_more_files;
    EXPECT_THROW(dataset->try_read(0, {}, out), base::Error);
  }
  EXPECT_EQ(dataset->num_corrupt(), 0);
  EXPECT_TRUE(dataset->try_read(0, {}, out));
}

}  // namespace
}  // namespace ditmoe::data
