#include "ditmoe/pipeline/settings.h"

#include <gmock/gmock.h>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

namespace ditmoe::pipeline {
namespace {

using testing::HasSubstr;

PictureSettings example() {
  PictureSettings settings;
  settings.model = "a.safetensors";
  settings.overrides.top_k = 3;
  settings.overrides.objective = networks::Objective::kRectifiedFlow;
  settings.overrides.weights = formats::WeightSet::kModel;
  settings.request.labels = {2, 0, 10};
  settings.request.sampler = "euler";
  settings.request.steps = 12;
  settings.request.guidance = {1.25, true};
  settings.request.seed = 18446744073709551615ULL;
  settings.request.first_image = 40;
  settings.columns = 2;
  settings.scale = 4;
  return settings;
}

std::string message_of(const base::Json& json) {
  try {
    picture_settings_from_json(json, "x.png");
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
    return error.what();
  }
  return "accepted";
}

TEST(SettingsTest, SurviveTheWayThroughText) {
  const std::string text = to_json(example()).dump();
  const PictureSettings read = picture_settings_from_json(base::parse_json(text, "x.png"), "x.png");
  EXPECT_EQ(to_json(read).dump(), text);
  EXPECT_EQ(read.request.seed, example().request.seed);
  EXPECT_EQ(read.request.labels, example().request.labels);
  EXPECT_EQ(read.request.guidance.scale, 1.25);
  EXPECT_EQ(read.overrides.top_k, 3);
  EXPECT_FALSE(read.overrides.heads.has_value());
  EXPECT_EQ(read.overrides.objective, networks::Objective::kRectifiedFlow);
  EXPECT_EQ(read.overrides.weights, formats::WeightSet::kModel);
}

TEST(SettingsTest, IntervalIsStoredWhereItIsNotAll) {
  PictureSettings settings = example();
  EXPECT_FALSE(to_json(settings).contains("cfg_interval"));
  settings.request.guidance.interval = {0.125, 0.8};
  const base::Json json = to_json(settings);
  EXPECT_EQ(json.at("cfg_interval"), base::Json({0.125, 0.8}));
  const PictureSettings read = picture_settings_from_json(json, "x.png");
  EXPECT_EQ(read.request.guidance.interval, settings.request.guidance.interval);
  const PictureSettings whole = picture_settings_from_json(to_json(example()), "x.png");
  EXPECT_EQ(whole.request.guidance.interval, diffusion::Guidance::Interval{});
}

TEST(SettingsTest, IntervalsAreTwoNumbers) {
  EXPECT_EQ(interval_from("0.25,0.75"), (diffusion::Guidance::Interval{0.25, 0.75}));
  EXPECT_EQ(interval_from("0,1"), diffusion::Guidance::Interval{});
  EXPECT_EQ(interval_from("1e-1,.5"), (diffusion::Guidance::Interval{0.1, 0.5}));
  EXPECT_EQ(interval_words({0.1, 0.75}), "0.1,0.75");
  for (const char* words :
       {"", ",", "0.5", "0.5,", ",0.5", "0,1,", "0,1,2", "0, 1", "0 1", "a,b"}) {
    try {
      interval_from(words);
      ADD_FAILURE() << "accepted '" << words << "'";
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
      EXPECT_THAT(error.what(), HasSubstr("expected LO,HI"));
    }
  }
}

TEST(SettingsTest, UnknownKeysOfLaterVersionsAreIgnored) {
  base::Json json = to_json(example());
  json["later"] = 1;
  EXPECT_EQ(message_of(json), "accepted");
}

TEST(SettingsTest, DamagedSettingsAreNamed) {
  base::Json missing = to_json(example());
  missing.erase("steps");
  EXPECT_THAT(message_of(missing), HasSubstr("x.png: key 'steps' is missing"));
  base::Json wrong = to_json(example());
  wrong["labels"] = "all";
  EXPECT_THAT(message_of(wrong), HasSubstr("x.png: key 'labels' has a value of the wrong type"));
  base::Json channels = to_json(example());
  channels["cfg_channels"] = "2";
  EXPECT_THAT(message_of(channels),
              HasSubstr("x.png: key 'cfg_channels': expected \"3\" or \"all\", found \"2\""));
  base::Json sampler = to_json(example());
  sampler["sampler"] = "\x1b[2J";
  EXPECT_THAT(message_of(sampler), HasSubstr("x.png: sampler \"\\x1b[2J\": expected one of"));
  base::Json interval = to_json(example());
  interval["cfg_interval"] = {0.5};
  EXPECT_THAT(message_of(interval), HasSubstr("'cfg_interval': expected two numbers, found 1"));
  interval["cfg_interval"] = "0,1";
  EXPECT_THAT(message_of(interval), HasSubstr("'cfg_interval' has a value of the wrong type"));
  for (const char* key : {"scale", "columns"}) {
    for (const int64_t value : {int64_t{-1}, int64_t{1} << 32}) {
      base::Json picture = to_json(example());
      picture[key] = value;
      EXPECT_THAT(message_of(picture), HasSubstr(std::string("x.png: key '") + key + "' must be"));
    }
  }
  EXPECT_THAT(message_of(base::Json::array()), HasSubstr("expected a JSON object"));
}

// What another type would hold only rounded or cut off.
TEST(SettingsTest, NumbersAreNotConverted) {
  const std::pair<const char*, base::Json> wrong[] = {{"steps", 2.9},
                                                      {"steps", true},
                                                      {"seed", -1},
                                                      {"seed", 1e30},
                                                      {"first_image", 1e300},
                                                      {"labels", {int64_t{1} << 32}},
                                                      {"labels", {0.5}},
                                                      {"cfg", "2"},
                                                      {"model", 7}};
  for (const auto& [key, value] : wrong) {
    base::Json json = to_json(example());
    json[key] = value;
    EXPECT_THAT(message_of(json), HasSubstr(std::string("x.png: key '") + key + "' has a value of"))
        << value;
  }
}

}  // namespace
}  // namespace ditmoe::pipeline
