// ditmoe-train is killed at random moments and resumed: the weights must be those of a run that was
// left alone, byte for byte.

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/philox.h"
#include "ditmoe/formats/file.h"

namespace ditmoe::training {
namespace {

namespace fs = std::filesystem;

constexpr const char* kData = "/usr/share/datasets/fashion-mnist";

// One process of the trainer on the smoke recipe.
class TrainerProcess {
 public:
  TrainerProcess(const std::string& out, int64_t steps) {
    std::vector<std::string> arguments = {DITMOE_TRAINER,
                                          "train",
                                          DITMOE_SMOKE_RECIPE,
                                          "--out",
                                          out,
                                          "--resume",
                                          "--threads",
                                          "2",
                                          "--set",
                                          "train.steps=" + std::to_string(steps),
                                          "--set",
                                          "output.checkpoint_every=5",
                                          "--set",
                                          "output.sample_every=0"};
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      const int log = open((out + ".log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
      dup2(log, STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
  }

  void send(int signal) const { kill(pid_, signal); }

  // The wait status, or nothing where it still runs after that many milliseconds.
  std::optional<int> wait_for(int milliseconds) const {
    int status = 0;
    for (int waited = 0; waited < milliseconds; waited += 10) {
      if (waitpid(pid_, &status, WNOHANG) == pid_) return status;
      usleep(10'000);
    }
    return std::nullopt;
  }

  int wait() const {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
  }

 private:
  pid_t pid_ = -1;
};

class KillTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kData)) GTEST_SKIP() << kData << " is missing (dataset-fashion-mnist)";
    root_ = fs::path(::testing::TempDir()) / ("ditmoe-kill-" + std::to_string(getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_);
  }

  void TearDown() override {
    if (!root_.empty()) fs::remove_all(root_);
  }

  std::string folder(const std::string& name) const { return (root_ / name).string(); }

  std::string weights(const std::string& name) const {
    return formats::read_text(folder(name) + "/model.safetensors");
  }

  // Kills up to `kills` processes, each at a random moment, and lets the last one finish.
  int run_with_kills(const std::string& name, int64_t steps, int kills, uint64_t seed) const {
    int killed = 0;
    while (killed < kills) {
      const TrainerProcess process(folder(name), steps);
      const auto moment = static_cast<int>(
          300 + base::random_below(1500, {.seed = seed, .index = static_cast<uint64_t>(killed)}));
      if (const auto status = process.wait_for(moment)) {
        EXPECT_EQ(*status, 0);
        return killed;  // finished before its turn
      }
      process.send(SIGKILL);
      EXPECT_TRUE(WIFSIGNALED(process.wait()));
      ++killed;
    }
    EXPECT_EQ(TrainerProcess(folder(name), steps).wait(), 0);
    return killed;
  }

  void expect_kills_leave_no_trace(int64_t steps, int kills) const {
    ASSERT_EQ(TrainerProcess(folder("whole"), steps).wait(), 0);
    EXPECT_EQ(run_with_kills("killed", steps, kills, /*seed=*/7), kills);
    EXPECT_EQ(weights("whole"), weights("killed"));
  }

  fs::path root_;
};

TEST_F(KillTest, ThreeKillsLeaveNoTrace) { expect_kills_leave_no_trace(100, 3); }

TEST_F(KillTest, SigtermCheckpointsAndExitsCleanly) {
  const TrainerProcess process(folder("run"), 100'000);
  while (!fs::exists(folder("run") + "/log.csv")) {
    ASSERT_FALSE(process.wait_for(100).has_value()) << "ended before it began";
  }
  process.send(SIGTERM);
  EXPECT_EQ(process.wait(), 0);
  EXPECT_FALSE(fs::is_empty(folder("run") + "/checkpoints"));
  EXPECT_FALSE(fs::exists(folder("run") + "/model.safetensors"));
}

class SlowKillTest : public KillTest {};

TEST_F(SlowKillTest, TwentyKillsLeaveNoTrace) { expect_kills_leave_no_trace(600, 20); }

}  // namespace
}  // namespace ditmoe::training
