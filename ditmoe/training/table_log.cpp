#include "ditmoe/training/table_log.h"

#include <charconv>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/base/log.h"
#include "ditmoe/formats/file.h"

namespace ditmoe::training {
namespace {

// The step a line tells of; none for a heading or a line cut short by a crash.
std::optional<int64_t> step_of(const std::string& line) {
  int64_t step = 0;
  const char* end = line.data() + line.size();
  if (line.starts_with('{')) {
    const base::Json json = base::Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) {
      return std::nullopt;
    }
    return json["step"].get<int64_t>();
  }
  const auto [rest, error] = std::from_chars(line.data(), end, step);
  if (error != std::errc() || rest == end || *rest != ',') return std::nullopt;
  return step;
}

// Rewrites the file with a heading and the lines up to steps_done, and opens it for appending.
std::ofstream continue_file(const std::string& path,
                            const std::string& heading,
                            int64_t steps_done) {
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

TableLog::TableLog(const std::string& run_folder,
                   std::vector<std::string> columns,
                   int64_t steps_done)
    : columns_(std::move(columns)),
      json_(continue_file(run_folder + "/log.jsonl", "", steps_done)),
      csv_(continue_file(run_folder + "/log.csv",
                         fmt::format("step,{}\n", fmt::join(columns_, ",")),
                         steps_done)) {}

void TableLog::append(int64_t step, const std::vector<std::optional<double>>& values) {
  DITMOE_ASSERT(values.size() == columns_.size());
  base::Json json = {{"step", step}};
  std::string row = std::to_string(step);
  for (size_t i = 0; i < values.size(); ++i) {
    row += ',';
    if (!values[i]) continue;
    json[columns_[i]] = *values[i];
    row += fmt::format("{:.6g}", *values[i]);
  }
  json_ << json.dump() << std::endl;
  csv_ << row << std::endl;
  if (json_.good() && csv_.good()) return;
  base::log_warning("step {}: the log of the run cannot be written", step);
  json_.clear();
  csv_.clear();
}

}  // namespace ditmoe::training
