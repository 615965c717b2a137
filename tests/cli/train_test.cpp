// The way to the torch-linked program, with a script in its place.

#include <algorithm>
#include <filesystem>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <gtest/gtest.h>

#include "ditmoe/formats/file.h"

#include "program.h"

namespace ditmoe::apps {
namespace {

using testing::HasSubstr;

class TrainTest : public testing::Test {
 protected:
  TrainTest() { std::filesystem::copy_file(DITMOE_PROGRAM, program_); }

  TemporaryFolder folder_;
  std::string program_ = folder_ / "ditmoe";
};

TEST_F(TrainTest, AbsentTrainerIsTold) {
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"train", "recipe.toml"}, {"train", "--help"}, {"probe", "loss"}}) {
    const Outcome outcome = run(command, program_);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr("ditmoe-train does not exist"));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1);
  }
}

TEST_F(TrainTest, ArgumentsAndExitCodeArePassedOn) {
  formats::write_text(folder_ / "ditmoe-train",
                      "#!/bin/sh\necho \"$OPENBLAS_NUM_THREADS\"\nprintf '<%s>' \"$@\"\nexit 7\n");
  chmod((folder_ / "ditmoe-train").c_str(), 0755);
  const Outcome train = run({"train", "a b.toml", "--set", "x=1", "--help", "--", "-v"}, program_);
  EXPECT_EQ(train.exit_code, 7);
  EXPECT_EQ(train.out, "1\n<train><a b.toml><--set><x=1><--help><--><-v>");
  const Outcome loss = run({"probe", "loss", "m", "--in", "i.npz"}, program_);
  EXPECT_EQ(loss.out, "1\n<probe><loss><m><--in><i.npz>");
}

}  // namespace
}  // namespace ditmoe::apps
