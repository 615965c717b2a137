// What a run that goes on keeps of the event files before: formats/tfevents.h.

#include <algorithm>
#include <filesystem>
#include <gmock/gmock.h>
#include <limits>
#include <sys/stat.h>

#include <gtest/gtest.h>

#include "ditmoe/formats/tfevents.h"

#include "malformed.h"
#include "temp_dir.h"
#include "tfevents_bytes.h"

namespace ditmoe::formats {
namespace {

using base::ErrorKind;
using test::bytes_of;
using test::expect_error;
using test::kVersion;
using test::log_of;
using test::span_of;
using test::TempDir;
using test::write_steps;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(EventResumeTest, KeepsStepsDoneInTheirFileAndGoesOnInANewOne) {
  const TempDir dir;
  const std::string first = write_steps(dir, 0, 1, 6);
  const std::string second = write_steps(dir, 4, 5, 7);
  EXPECT_LT(first, second);
  EXPECT_THAT(log_of(dir),
              ElementsAre(kVersion,
                          "1 start",
                          "1 a = 10",
                          "2 a = 20",
                          "3 a = 30",
                          "4 a = 40",
                          kVersion,
                          "5 start",
                          "5 a = 50",
                          "6 a = 60",
                          "7 a = 70"));
  EXPECT_EQ(dir.count(), 2U);
}

TEST(EventResumeTest, TwoResumesTheLaterFurtherBack) {
  const TempDir dir;
  write_steps(dir, 0, 1, 3);
  write_steps(dir, 2, 3, 5);
  write_steps(dir, 4, 5, 6);
  EXPECT_THAT(log_of(dir),
              ElementsAre(kVersion,
                          "1 start",
                          "1 a = 10",
                          "2 a = 20",
                          kVersion,
                          "3 start",
                          "3 a = 30",
                          "4 a = 40",
                          kVersion,
                          "5 start",
                          "5 a = 50",
                          "6 a = 60"));
  write_steps(dir, 1, 2, 2);  // before what the second and third file have
  EXPECT_THAT(log_of(dir),
              ElementsAre(kVersion, "1 start", "1 a = 10", kVersion, "2 start", "2 a = 20"));
  EXPECT_EQ(dir.count(), 2U);
}

TEST(EventResumeTest, NothingOfANewRunIsKept) {
  const TempDir dir;
  write_steps(dir, 0, 0, 3);
  write_steps(dir, -1, 0, 0);
  EXPECT_THAT(log_of(dir), ElementsAre(kVersion, "0 start", "0 a = 0"));
}

TEST(EventResumeTest, AFileThatStaysIsNotTouched) {
  const TempDir dir;
  const std::string first = write_steps(dir, 0, 1, 3);
  const auto inode = [&] {
    struct stat status = {};
    return stat(first.c_str(), &status) == 0 ? status.st_ino : 0;
  };
  const auto before = inode();
  write_steps(dir, 3, 4, 4);
  EXPECT_EQ(inode(), before);
  write_steps(dir, 2, 3, 3);
  EXPECT_NE(inode(), before);
}

TEST(EventResumeTest, StepsOutOfOrderAreKeptOneByOne) {
  const TempDir dir;
  {
    EventWriter writer(dir.path().string(), 0);
    for (const int64_t step : {5, 1, 6, 2, 3, 9}) writer.scalar("a", step, 0);
  }
  { const EventWriter writer(dir.path().string(), 4); }
  EXPECT_THAT(
      log_of(dir),
      ElementsAre(kVersion, "1 start", "1 a = 0", "2 a = 0", "3 a = 0", kVersion, "5 start"));
}

TEST(EventResumeTest, NewFilesComeLastThoughTheClockWasTurnedBack) {
  const TempDir dir;
  const std::string first = write_steps(dir, 0, 1, 1);
  const std::string later = dir.file("events.out.tfevents.8000000000.host.1.ditmoe");
  std::filesystem::rename(first, later);
  const std::string second = write_steps(dir, 1, 2, 2);
  EXPECT_THAT(second, HasSubstr("/events.out.tfevents.8000000001."));
  EXPECT_THAT(log_of(dir),
              ElementsAre(kVersion, "1 start", "1 a = 10", kVersion, "2 start", "2 a = 20"));
}

TEST(EventResumeTest, OtherFilesAreLetBe) {
  const TempDir dir;
  const std::vector<std::string> names = {"events.out.tfevents.1700000000.host.1.0",
                                          "events.out.tfevents.1700000000.host.1.v2",
                                          "events.out.tfevents.x.ditmoe",
                                          "events.out.tfevents.-5.host.ditmoe",
                                          "events.out.tfevents.ditmoe",
                                          "events.out.tfevents.99999999999999999999.h.ditmoe",
                                          "events.out.tfevents.9223372036854775807.h.ditmoe",
                                          "log.ditmoe",
                                          "notes"};
  for (const std::string& name : names) dir.put(name, "anything");
  write_steps(dir, 0, 1, 1);
  for (const std::string& name : names) EXPECT_EQ(bytes_of(dir.file(name)), "anything") << name;
  EXPECT_EQ(dir.count(), names.size() + 1);
}

TEST(EventResumeTest, CopiesOfAKilledResumeAreRemoved) {
  const TempDir dir;
  dir.put("events.out.tfevents.1700000000.host.1.ditmoe.tmp.99.0", "anything");
  write_steps(dir, 0, 1, 1);
  EXPECT_EQ(dir.count(), 1U);
}

TEST(EventResumeTest, WhatHasTheNameButIsNoFileIsBadInput) {
  const TempDir dir;
  const std::string path = dir.file("events.out.tfevents.1700000000.host.1.ditmoe");
  std::filesystem::create_directory(path);
  expect_error([&] { EventWriter(dir.path().string(), 0); },
               ErrorKind::kBadInput,
               "expected a regular file, found a folder",
               path);
}

// What is kept of a file is a file of whole records, from which the same is kept again.
void expect_kept_well(const std::string& file, int64_t steps_done, size_t num_records) {
  const KeptEvents kept = events_until(span_of(file), steps_done);
  std::string shorter;
  for (const auto part : kept.parts) {
    shorter.append(reinterpret_cast<const char*>(part.data()), part.size());
  }
  EXPECT_EQ(kept.num_records, num_records);
  const KeptEvents again = events_until(span_of(shorter), steps_done);
  EXPECT_EQ(again.num_records, num_records);
  EXPECT_EQ(again.damage, "");
  EXPECT_LE(again.parts.size(), 1U);
}

TEST(EventResumeTest, FilesCutAtAnyByteKeepTheirWholeEvents) {
  const TempDir dir;
  const std::string path = write_steps(dir, 0, 1, 4);
  const std::string file = bytes_of(path);
  std::vector<size_t> ends;  // of the records
  for (TfrecordReader reader(span_of(file)); reader.next();) ends.push_back(reader.offset());
  for (size_t size = 0; size <= file.size(); ++size) {
    SCOPED_TRACE(size);
    const auto whole = std::upper_bound(ends.begin(), ends.end(), size) - ends.begin();
    expect_kept_well(file.substr(0, size), 9, static_cast<size_t>(whole));
    expect_kept_well(file.substr(0, size), 2, std::min<size_t>(4, static_cast<size_t>(whole)));
  }
}

TEST(EventResumeTest, FilesWithAFlippedBitKeepWhatPrecedesIt) {
  const TempDir dir;
  const std::string file = bytes_of(write_steps(dir, 0, 1, 3));
  std::vector<size_t> ends;
  for (TfrecordReader reader(span_of(file)); reader.next();) ends.push_back(reader.offset());
  for (size_t bit = 0; bit < 8 * file.size(); ++bit) {
    SCOPED_TRACE(bit);
    std::string damaged = file;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    const auto whole = std::upper_bound(ends.begin(), ends.end(), bit / 8) - ends.begin();
    expect_kept_well(damaged, 9, static_cast<size_t>(whole));
  }
}

TEST(EventResumeTest, ADamagedEndIsCutOffWithAWarning) {
  const TempDir dir;
  const std::string path = write_steps(dir, 0, 1, 2);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  testing::internal::CaptureStdout();  // where warnings go without start_logging()
  write_steps(dir, 2, 3, 3);
  EXPECT_THAT(testing::internal::GetCapturedStdout(),
              AllOf(HasSubstr(path + ": byte "), HasSubstr("; cut off there")));
  EXPECT_THAT(log_of(dir),
              ElementsAre(kVersion, "1 start", "1 a = 10", kVersion, "3 start", "3 a = 30"));
}

TEST(EventResumeTest, FilesOfOtherBytesAreRemoved) {
  const TempDir dir;
  dir.put("events.out.tfevents.1700000000.host.1.ditmoe", "");
  dir.put("events.out.tfevents.1700000001.host.1.ditmoe", "PNG");
  dir.put("events.out.tfevents.1700000002.host.1.ditmoe", std::string(5000, '\0'));
  testing::internal::CaptureStdout();
  write_steps(dir, 5, 6, 6);
  testing::internal::GetCapturedStdout();
  EXPECT_EQ(dir.count(), 1U);
}

std::string records_of(const std::vector<std::string>& contents) {
  std::string file;
  for (const std::string& content : contents) append_tfrecord(file, content);
  return file;
}

TEST(EventsUntilTest, RecordsThatAreNoEventsEndTheFile) {
  const std::string good = "\x10\x01";     // step 1
  const std::string nested(5000, '\x0b');  // groups in groups
  for (const std::string& bad : {std::string("\x10"),
                                 std::string("\x07"),
                                 std::string("\x0a\xff\xff\xff\xff\x0f"),
                                 std::string(1, '\0'),
                                 std::string(11, '\xff'),
                                 std::string("\x0b"),
                                 nested}) {
    const std::string file = records_of({good, bad, good});
    const KeptEvents kept = events_until(span_of(file), 5);
    EXPECT_EQ(kept.num_records, 1U);
    EXPECT_EQ(kept.damage, "byte 18: expected an event, found other bytes");
    expect_kept_well(file, 5, 1);
  }
}

TEST(EventsUntilTest, StepsAreThoseThatProtobufReads) {
  const auto kept = [](const std::string& event, int64_t steps_done) {
    return events_until(span_of(records_of({event})), steps_done).num_records == 1;
  };
  const std::string minus_one = "\x10" + std::string(9, '\xff') + "\x01";
  const std::string largest = "\x10" + std::string(8, '\xff') + "\x7f";
  EXPECT_TRUE(kept("", 0));  // step 0 is not written
  EXPECT_FALSE(kept("", -1));
  EXPECT_TRUE(kept(minus_one, -1));
  EXPECT_FALSE(kept(largest, std::numeric_limits<int64_t>::max() - 1));
  EXPECT_TRUE(kept(largest, std::numeric_limits<int64_t>::max()));
  EXPECT_TRUE(kept("\x10\x09\x10\x02", 5));                // the last counts
  EXPECT_TRUE(kept("\x0a\x01x\x10\x02\xa2\x06\x01y", 5));  // fields of no interest
  EXPECT_FALSE(kept("\x0a\x01x\x10\x06\xa2\x06\x01y", 5));
}

TEST(EventsUntilTest, HostileRecordsTakeNoMoreMemoryThanOtherFiles) {
  std::string many_fields;
  while (many_fields.size() < kMaxTfrecordBytes) many_fields += "\x18\x01";
  const std::string file = records_of({many_fields});
  test::expect_memory_below(file.size() + test::kMaxExtraBytes,
                            [&] { EXPECT_EQ(events_until(span_of(file), 0).num_records, 1U); });
}

}  // namespace
}  // namespace ditmoe::formats
