// What somebody sees who asks for help or types something wrong.

#include <algorithm>
#include <gmock/gmock.h>

#include <gtest/gtest.h>

#include "program.h"

namespace ditmoe::apps {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// Wrong usage and bad input: nothing on stdout, one line on stderr, exit code 2.
void expect_refusal(const std::vector<std::string>& arguments, const std::string& message) {
  const Outcome outcome = run(arguments);
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, StartsWith("ditmoe: "));
  EXPECT_THAT(outcome.err, HasSubstr(message));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
}

TEST(UsageTest, HelpListsTheCommands) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--help"}, std::vector<std::string>{}}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_EQ(outcome.err, "");
    for (const char* command : {"sample",
                                "train",
                                "evaluate",
                                "inspect",
                                "convert",
                                "upcycle",
                                "encode",
                                "bench",
                                "probe"}) {
      EXPECT_THAT(outcome.out, HasSubstr(std::string("\n  ") + command + " "));
    }
  }
}

TEST(UsageTest, EveryCommandExplainsItselfWithAnExample) {
  const std::vector<std::vector<std::string>> commands = {{"sample"},
                                                          {"evaluate"},
                                                          {"inspect"},
                                                          {"convert"},
                                                          {"upcycle"},
                                                          {"encode"},
                                                          {"bench", "roof"},
                                                          {"bench", "ops"},
                                                          {"bench", "forward"},
                                                          {"bench", "sample"},
                                                          {"bench", "precision"},
                                                          {"probe", "forward"},
                                                          {"probe", "sample"}};
  for (std::vector<std::string> command : commands) {
    const std::string name = command.back();
    command.emplace_back("--help");
    const Outcome outcome = run(command);
    EXPECT_EQ(outcome.exit_code, 0) << name;
    EXPECT_THAT(outcome.out, HasSubstr("Example")) << name;
    EXPECT_THAT(outcome.out, HasSubstr("default")) << name;
    EXPECT_THAT(outcome.out, HasSubstr("  ditmoe ")) << name;
  }
}

TEST(UsageTest, HelpOfSamplingListsTheSamplers) {
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"sample"}, {"evaluate"}, {"probe", "sample"}}) {
    std::vector<std::string> arguments = command;
    arguments.emplace_back("--help");
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.out, HasSubstr("--cfg-interval LO,HI"));
    for (const char* sampler : {"ddpm", "ddim", "dpm++", "euler", "heun", "ab2"}) {
      EXPECT_THAT(outcome.out, HasSubstr("\n" + std::string(30, ' ') + sampler + " "));
    }
  }
}

TEST(UsageTest, VersionNamesCpuAndLibraries) {
  const Outcome outcome = run({"--version"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, StartsWith("ditmoe "));
  for (const char* word : {"CPU", "AVX2", "oneDNN", "fmt", "zlib", "libpng", "CLI11"}) {
    EXPECT_THAT(outcome.out, HasSubstr(word));
  }
}

TEST(UsageTest, UnknownWordsSuggestTheNearest) {
  expect_refusal({"smaple", "x"}, "unknown command 'smaple', did you mean 'sample'?");
  expect_refusal({"probe", "forwrad"}, "unknown command 'forwrad', did you mean 'forward'?");
  expect_refusal({"sample", "x", "--step", "3"},
                 "unknown option '--step', did you mean '--steps'?");
  expect_refusal({"sample", "x", "y"}, "unexpected argument 'y'");
  expect_refusal({"convort", "--help"}, "unknown command 'convort', did you mean 'convert'?");
}

TEST(UsageTest, MissingAndMalformedArguments) {
  expect_refusal({"sample"}, "MODEL is required");
  expect_refusal({"probe"}, "expected a command after 'ditmoe probe'");
  expect_refusal({"probe", "forward", "x"}, "--in");
  expect_refusal({"sample", "x", "--steps", "many"}, "--steps = many: expected a number");
  expect_refusal({"sample", "x", "--cfg-interval"}, "--cfg-interval: expected one value");
  expect_refusal({"sample", "x", "--steps"}, "--steps: expected one value");
  expect_refusal({"sample", "x", "--count", "0"}, "--count");
  expect_refusal({"sample", "x", "--count", "-3"}, "--count");
  expect_refusal({"sample", "x", "--batch", "0"}, "--batch");
  expect_refusal({"sample", "x", "--seed", "-1"}, "--seed: expected a whole number of at least 0");
  expect_refusal({"sample", "x", "--seed", "1.5"}, "found \"1.5\"");
  expect_refusal({"sample", "x", "--threads", "0"}, "--threads");
  expect_refusal({"inspect"}, "exactly one");
  expect_refusal({"inspect", "x", "--table"}, "exactly one");
}

TEST(UsageTest, MissingFiles) {
  expect_refusal({"sample", "/nowhere/x.safetensors"}, "/nowhere/x.safetensors");
  expect_refusal({"inspect", "/nowhere/x.safetensors"}, "/nowhere/x.safetensors");
  expect_refusal({"evaluate", "/nowhere/x", "--classifier", "/nowhere/y"}, "/nowhere/x");
  expect_refusal({"sample", "x", "--from-png", "/nowhere/a.png"}, "/nowhere/a.png");
}

}  // namespace
}  // namespace ditmoe::apps
