#include "ditmoe/formats/tfevents.h"

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <gmock/gmock.h>
#include <limits>
#include <memory>
#include <sys/resource.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "temp_dir.h"
#include "tfevents_bytes.h"

namespace ditmoe::formats {
namespace {

using base::ErrorKind;
using test::expect_error;
using test::kVersion;
using test::log_of;
using test::logged_events;
using test::span_of;
using test::TempDir;
using test::write_steps;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;

TEST(EventWriterTest, BeginsWithVersionAndStart) {
  const TempDir dir;
  { const EventWriter writer(dir.path().string(), 0); }
  EXPECT_THAT(log_of(dir), ElementsAre(kVersion, "1 start"));
}

TEST(EventWriterTest, Scalars) {
  const TempDir dir;
  {
    EventWriter writer(dir.path().string(), 0);
    writer.scalar("train/loss", 1, 0.5);
    writer.scalar("zero", 2, 0);
    writer.scalar("\u5c65", 3, -1e300);
    writer.scalar("nan", int64_t{1} << 40, std::numeric_limits<double>::quiet_NaN());
  }
  EXPECT_THAT(log_of(dir),
              ElementsAre(kVersion,
                          "1 start",
                          "1 train/loss = 0.5",
                          "2 zero = 0",
                          "3 \u5c65 = -inf",
                          "1099511627776 nan = nan"));
}

TEST(EventWriterTest, Image) {
  const TempDir dir;
  {
    EventWriter writer(dir.path().string(), 0);
    writer.image("samples", 7, span_of("PNG"), 3, 2, 1);
  }
  EXPECT_THAT(log_of(dir), ElementsAre(kVersion, "1 start", "7 samples = 3x2x1 PNG"));
}

TEST(EventWriterTest, Histogram) {
  const TempDir dir;
  {
    EventWriter writer(dir.path().string(), 0);
    writer.histogram("tokens", 7, std::array{0.0, 4.0, 0.0, 2.0, 0.0});
    writer.histogram("none", 8, {});
  }
  EXPECT_THAT(log_of(dir),
              ElementsAre(kVersion,
                          "1 start",
                          "7 tokens = min=1 max=4 num=6 sum=13 squares=33.5 limits=1,2,3,4,5 "
                          "counts=0,4,0,2,0",
                          "8 none = "));
}

TEST(EventWriterTest, TimesAreThoseOfTheClock) {
  const TempDir dir;
  const double before =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  for (const auto& event : logged_events(write_steps(dir, 0, 1, 2))) {
    EXPECT_GE(event.wall_time, before);
    EXPECT_LT(event.wall_time, before + 600);
  }
}

TEST(EventWriterTest, NamesAreThoseThatTensorBoardReads) {
  const TempDir dir;
  const std::string path = write_steps(dir, 0, 1, 1);
  EXPECT_THAT(
      std::filesystem::path(path).filename().string(),
      MatchesRegex("events\\.out\\.tfevents\\.[0-9]{10}\\.[-._A-Za-z0-9]+\\.[0-9]+\\.ditmoe"));
}

TEST(EventWriterTest, FlushedEventsAreInTheFile) {
  const TempDir dir;
  EventWriter writer(dir.path().string(), 0);
  writer.scalar("a", 1, 1);
  EXPECT_EQ(logged_events(writer.path()).size(), 2U);
  writer.flush();
  EXPECT_EQ(logged_events(writer.path()).size(), 3U);
  writer.image("b", 2, span_of(std::string(2 << 20, 'x')), 1, 1, 3);
  EXPECT_EQ(logged_events(writer.path()).size(), 4U);
}

TEST(EventWriterTest, EventsBeyondTheLimitAreRefused) {
  const TempDir dir;
  EventWriter writer(dir.path().string(), 0);
  const std::string png(kMaxTfrecordBytes, 'x');
  expect_error([&] { writer.image("a", 1, span_of(png), 1, 1, 3); },
               ErrorKind::kFailure,
               "expected an event of at most 33554432 bytes, found 335544",
               writer.path());
  writer.image("b", 1, span_of(png).first(png.size() - 100), 1, 1, 3);
  writer.flush();
  EXPECT_EQ(logged_events(writer.path()).size(), 3U);
}

TEST(EventWriterTest, MissingFolderIsBadInputThatNamesIt) {
  const TempDir dir;
  const std::string missing = dir.file("missing");
  expect_error([&] { EventWriter(missing, 0); },
               ErrorKind::kBadInput,
               "the folder " + missing + " cannot be reached: No such file or directory",
               missing);
  const std::string file = dir.put("file", "");
  expect_error([&] { EventWriter(file, 0); }, ErrorKind::kBadInput, file + " is not a folder");
}

TEST(EventWriterTest, FolderWithoutPermissionIsBadInput) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write anywhere";
  const TempDir dir;
  std::filesystem::permissions(dir.path(), std::filesystem::perms::owner_read);
  expect_error(
      [&] { EventWriter(dir.path().string(), 0); }, ErrorKind::kBadInput, "cannot write to");
  std::filesystem::permissions(dir.path(), std::filesystem::perms::owner_all);
}

// Limits how long files may become, as a full disk does, while it exists.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit now = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &now);
  }

  ~FileLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_ = {};
};

TEST(EventWriterTest, AfterAFailureTheFileIsWholeAndGoesOn) {
  const TempDir dir;
  EventWriter writer(dir.path().string(), 0);
  writer.scalar("a", 1, 10);
  writer.flush();
  {
    const FileLimit limit(std::filesystem::file_size(writer.path()) + 50);
    writer.scalar("a", 2, 20);
    writer.scalar("a", 3, 30);
    expect_error([&] { writer.flush(); },
                 ErrorKind::kFailure,
                 "cannot be written: File too large",
                 writer.path());
  }
  EXPECT_EQ(logged_events(writer.path()).size(), 3U);
  writer.scalar("a", 4, 40);
  writer.flush();
  EXPECT_THAT(log_of(dir), ElementsAre(kVersion, "1 start", "1 a = 10", "4 a = 40"));
}

TEST(EventWriterTest, FailureInTheDestructorIsAWarning) {
  const TempDir dir;
  auto writer = std::make_unique<EventWriter>(dir.path().string(), 0);
  const std::string path = writer->path();
  writer->image("large", 1, span_of(std::string(5000, 'x')), 1, 1, 3);  // room for the warning
  writer->flush();
  writer->scalar("a", 1, 10);
  const FileLimit limit(std::filesystem::file_size(path));
  testing::internal::CaptureStdout();  // where warnings go without start_logging()
  writer.reset();
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr(path + ": cannot be written"));
}

}  // namespace
}  // namespace ditmoe::formats
