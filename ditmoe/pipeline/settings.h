#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ditmoe/base/json.h"
#include "ditmoe/formats/png.h"
#include "ditmoe/kernels/precision.h"
#include "ditmoe/networks/model_file.h"
#include "ditmoe/pipeline/generate.h"

namespace ditmoe::pipeline {

// Keyword of the PNG text chunk that holds settings_json.
inline constexpr const char* kSettingsKeyword = "ditmoe";

// Everything that decides the images of one picture, as it travels in a PNG.
struct PictureSettings {
  std::string model;  // file name without folders
  std::string vae;    // likewise, of the autoencoder that decoded the images; empty without one
  networks::ModelOverrides overrides;
  GenerateRequest request;
  std::optional<kernels::Precision> precision;
  int64_t columns = 0;  // of a grid, if they were asked for
  int64_t scale = 0;    // screen pixels per pixel; 0 while undecided
};

// What the model asks to be sampled with; labels are left empty.
GenerateRequest default_request(const networks::ModelFile& model);

// Steps for a sampler: the model's own where the sampler is the model's choice, else the sampler's
// SamplerInfo::default_steps. Throws bad_input for an unknown sampler, suggesting the nearest.
int64_t default_steps(const networks::ModelFile& model, const std::string& sampler);

// "3" or "all", and back (bad_input naming the words allowed).
std::string guided_channels_word(bool all_channels);
bool all_channels_from(const std::string& word);

// The largest columns and scale of a picture.
constexpr int64_t kMostColumns = 10'000;
constexpr int64_t kMostScale = 64;

// "LO,HI", and back (bad_input for anything but two numbers; check_request checks their range).
std::string interval_words(const diffusion::Guidance::Interval& interval);
diffusion::Guidance::Interval interval_from(const std::string& words);

// Throws bad_input for what the model cannot draw: an unknown sampler (suggesting the nearest), one
// for the other objective, steps out of range, guidance that is no number or below 0, an interval
// that is none within [0, 1], labels out of range or none at all.
void check_request(const GenerateRequest& request, const networks::ModelFile& model);

// {"sampler", "steps", "cfg", "cfg_channels"} and "cfg_interval" as below: what the work depends
// on.
base::Json sampling_json(const GenerateRequest& request);

// {"version", "model", "vae" where there is one, "sampler", "steps", "cfg", "cfg_channels", "seed",
// "first_image", "labels", and, where they were given, "cfg_interval" [LO, HI] (left out where it
// is [0, 1]), "dtype", "heads", "top_k", "objective", "columns", "scale"}.
base::Json to_json(const PictureSettings& settings);

// Inverse of to_json; keys that are not known are ignored, for those of later versions. source
// names the file in messages. Throws bad_input for a missing key, a wrong type, and columns and
// scale out of their ranges.
PictureSettings picture_settings_from_json(const base::Json& json, const std::string& source);

// The settings a PNG carries; bad_input where it has none.
PictureSettings read_picture_settings(const std::string& png_path);

// Text chunks for a picture: kSettingsKeyword for programs and "parameters" for people, in the
// words image browsers know ("Steps: 50, Sampler: ddim, CFG scale: 2, Seed: 0, ..."). image_size:
// of one image, in pixels.
std::vector<std::pair<std::string, std::string>> picture_text(const PictureSettings& settings,
                                                              const networks::ModelFile& model,
                                                              int64_t image_size);

}  // namespace ditmoe::pipeline
