#include "ditmoe/training/run_log.h"

#include <charconv>
#include <filesystem>
#include <functional>
#include <optional>

#include <fmt/format.h>

#include "ditmoe/base/json.h"
#include "ditmoe/base/log.h"
#include "ditmoe/formats/file.h"

namespace ditmoe::training {
namespace {

constexpr const char* kColumns =
    "step,loss,mse,vb,balance,gradient_norm,lr,images_per_second,max_load,min_load\n";

base::Json to_json(const LogLine& line) {
  return {{"step", line.step},
          {"loss", line.loss},
          {"mse", line.mse},
          {"vb", line.vb},
          {"balance", line.balance},
          {"gradient_norm", line.gradient_norm},
          {"lr", line.lr},
          {"images_per_second", line.images_per_second},
          {"max_load", line.max_load},
          {"min_load", line.min_load}};
}

// The step a line tells of; none for a heading or a line cut short by a crash.
std::optional<int64_t> step_of_json(const std::string& line) {
  const base::Json json = base::Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) {
    return std::nullopt;
  }
  return json["step"].get<int64_t>();
}

std::optional<int64_t> step_of_csv(const std::string& line) {
  int64_t step = 0;
  const char* end = line.data() + line.size();
  const auto [rest, error] = std::from_chars(line.data(), end, step);
  if (error != std::errc() || rest == end || *rest != ',') return std::nullopt;
  return step;
}

// Rewrites the file with a heading and the lines up to steps_done, and opens it for appending.
std::ofstream continue_file(
    const std::string& path,
    const std::string& heading,
    int64_t steps_done,
    const std::function<std::optional<int64_t>(const std::string&)>& step_of) {
  std::string kept = heading;
  std::ifstream old(path);
  for (std::string line; std::getline(old, line);) {
    const auto step = step_of(line);
    if (step && *step <= steps_done && !old.eof()) kept += line + "\n";
  }
  formats::write_text(path, kept);
  return std::ofstream(path, std::ios::app);
}

}  // namespace

RunLog::RunLog(const std::string& run_folder, int64_t steps_done)
    : json_(continue_file(run_folder + "/log.jsonl", "", steps_done, step_of_json)),
      csv_(continue_file(run_folder + "/log.csv", kColumns, steps_done, step_of_csv)) {}

void RunLog::append(const LogLine& line) {
  json_ << to_json(line).dump() << std::endl;
  csv_ << fmt::format("{},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.4g},{:.4g}\n",
                      line.step,
                      line.loss,
                      line.mse,
                      line.vb,
                      line.balance,
                      line.gradient_norm,
                      line.lr,
                      line.images_per_second,
                      line.max_load,
                      line.min_load)
       << std::flush;
  if (json_.good() && csv_.good()) return;
  base::log_warning("step {}: the log of the run cannot be written", line.step);
  json_.clear();
  csv_.clear();
}

}  // namespace ditmoe::training
