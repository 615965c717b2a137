// Checkpoints appear whole or not at all, whatever happens meanwhile.

#include "ditmoe/training/checkpoint_store.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/formats/file.h"

namespace ditmoe::training {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr const char* kNames[] = {"a.safetensors", "b.safetensors", "state.json"};

class CheckpointStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) / fmt::format("ditmoe-store-{}", getpid());
    fs::remove_all(root_);
    fs::create_directories(root_);
  }

  void TearDown() override { fs::remove_all(root_); }

  CheckpointStore store(int64_t keep = 3) const { return {root_.string(), keep}; }

  // Files of some size, all of which tell the step.
  static void save(CheckpointStore& store, int64_t step, size_t size = 100'000) {
    store.save(step, [&](const std::string& folder) {
      for (const char* name : kNames) {
        std::string text = fmt::format("{} {} ", name, step);
        text.resize(size, static_cast<char>('a' + step % 26));
        formats::write_text(folder + "/" + name, text);
      }
    });
  }

  // The step that the newest checkpoint tells of, in each of its files; 0 where there is none.
  int64_t newest_step() const {
    const auto newest = store().newest();
    if (!newest) return 0;
    const int64_t step = std::stoll(newest->substr(newest->rfind('-') + 1));
    for (const char* name : kNames) {
      const std::string text = formats::read_text(*newest + "/" + name);
      EXPECT_TRUE(text.starts_with(fmt::format("{} {} ", name, step)));
    }
    return step;
  }

  // Lets a child do something and returns its exit code, or -1 where a signal ended it.
  template <typename Work>
  static int in_child(const Work& work, int kill_after_microseconds = -1) {
    const pid_t child = fork();
    if (child == 0) {
      work();
      _exit(0);
    }
    if (kill_after_microseconds >= 0) {
      usleep(static_cast<useconds_t>(kill_after_microseconds));
      kill(child, SIGKILL);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  fs::path root_;
};

TEST_F(CheckpointStoreTest, KeepsTheNewestAndTheBest) {
  CheckpointStore kept = store(2);
  for (int64_t step = 1; step <= 3; ++step) {
    save(kept, step, 100);
    if (step == 1) kept.set_best(1, 0.5);
  }
  save(kept, 4, 10);
  EXPECT_TRUE(fs::exists(root_ / "checkpoints/step-00000001"));
  EXPECT_FALSE(fs::exists(root_ / "checkpoints/step-00000002"));
  EXPECT_EQ(kept.best()->step, 1);
  EXPECT_EQ(kept.best()->loss, 0.5);
  kept.set_best(4, 0.25);
  EXPECT_FALSE(fs::exists(root_ / "checkpoints/step-00000001"));
  kept.forget_after(3);
  EXPECT_FALSE(kept.best().has_value());
}

TEST_F(CheckpointStoreTest, StepsOfNineDigitsComeLast) {
  CheckpointStore kept = store(9);
  for (const int64_t step : {99'999'999L, 100'000'000L}) save(kept, step, 100);
  EXPECT_EQ(newest_step(), 100'000'000);
}

TEST_F(CheckpointStoreTest, AFlippedBitInAnyFileLeadsToTheOneBefore) {
  for (const char* name : {"a.safetensors", "b.safetensors", "state.json", "manifest.json"}) {
    SCOPED_TRACE(name);
    fs::remove_all(root_ / "checkpoints");
    CheckpointStore kept = store();
    save(kept, 1);
    save(kept, 2);
    const fs::path path = root_ / "checkpoints/step-00000002" / name;
    std::string text = formats::read_text(path.string());
    text[text.size() / 2] ^= 4;
    std::ofstream(path, std::ios::binary) << text;
    EXPECT_EQ(newest_step(), 1);
    EXPECT_TRUE(fs::exists(root_ / "checkpoints/damaged-step-00000002"));
  }
}

TEST_F(CheckpointStoreTest, AMissingOrShortFileLeadsToTheOneBefore) {
  CheckpointStore kept = store();
  for (int64_t step = 1; step <= 3; ++step) save(kept, step);
  fs::remove(root_ / "checkpoints/step-00000003/b.safetensors");
  fs::resize_file(root_ / "checkpoints/step-00000002/a.safetensors", 5);
  EXPECT_EQ(newest_step(), 1);
}

TEST_F(CheckpointStoreTest, WhereAllAreDamagedNothingBegins) {
  CheckpointStore kept = store();
  save(kept, 1);
  fs::remove(root_ / "checkpoints/step-00000001/manifest.json");
  EXPECT_THROW(store().newest(), base::Error);
}

TEST_F(CheckpointStoreTest, FiftyKillsWhileSavingLeaveAnIntactOne) {
  int64_t last = 0;
  for (int round = 0; round < 50; ++round) {
    const auto moment = static_cast<int>(
        base::random_below(30'000, {.seed = 3, .index = static_cast<uint64_t>(round)}));
    in_child(
        [&] {
          CheckpointStore kept = store();
          for (int64_t step = last + 1;; ++step) save(kept, step);
        },
        moment);
    store().remove_leftovers();
    const int64_t step = newest_step();
    EXPECT_GE(step, last);
    last = step;
    for (const auto& entry : fs::directory_iterator(root_ / "checkpoints")) {
      EXPECT_FALSE(entry.path().filename().string().starts_with("damaged")) << entry.path();
      EXPECT_FALSE(entry.path().filename().string().ends_with(".tmp")) << entry.path();
    }
  }
  EXPECT_GT(last, 0);
}

// A limit on the size of files stands for the disk.
TEST_F(CheckpointStoreTest, AFullDiskKeepsTheOneBefore) {
  CheckpointStore kept = store();
  save(kept, 1);
  const int code = in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {50'000, 50'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      CheckpointStore full = store();
      save(full, 2);
    } catch (const base::Error& error) {
      const bool good = error.kind() == base::ErrorKind::kFailure &&
                        std::string(error.what()).find("step-00000002") != std::string::npos;
      _exit(good ? 7 : 8);
    }
  });
  EXPECT_EQ(code, 7);
  EXPECT_FALSE(fs::exists(root_ / "checkpoints/step-00000002.tmp"));
  EXPECT_EQ(newest_step(), 1);
}

TEST_F(CheckpointStoreTest, WantOfRoomIsTold) {
  try {
    store().expect_room(int64_t{1} << 60);
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("expected room for"));
  }
  EXPECT_NO_THROW(store().expect_room(1));
}

}  // namespace
}  // namespace ditmoe::training
