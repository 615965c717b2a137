#include "ditmoe/training/run_log.h"

#include <charconv>
#include <filesystem>
#include <functional>
#include <optional>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/base/log.h"
#include "ditmoe/formats/file.h"

namespace ditmoe::training {
namespace {

constexpr const char* kColumns =
    "step,loss,mse,vb,balance,gradient_norm,lr,images_per_second,max_load,min_load,data_wait,"
    "max_gradient_norm,faults,held_out_loss\n";

// Rows of numbers to four digits.
base::Json rows_json(const at::Tensor& values_LE) {
  base::Json rows = base::Json::array();
  for (int64_t layer = 0; layer < values_LE.size(0); ++layer) {
    base::Json row = base::Json::array();
    for (int64_t e = 0; e < values_LE.size(1); ++e) {
      row.push_back(std::stod(fmt::format("{:.4g}", values_LE[layer][e].item<double>())));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

base::Json to_json(const LogLine& line) {
  base::Json json = {{"step", line.step},
                     {"loss", line.loss},
                     {"mse", line.mse},
                     {"vb", line.vb},
                     {"balance", line.balance},
                     {"gradient_norm", line.gradient_norm},
                     {"lr", line.lr},
                     {"images_per_second", line.images_per_second},
                     {"max_load", line.max_load},
                     {"min_load", line.min_load},
                     {"data_wait", line.data_wait},
                     {"max_gradient_norm", line.max_gradient_norm},
                     {"faults", line.faults}};
  if (line.held_out_loss) json["held_out_loss"] = *line.held_out_loss;
  if (line.expert_loads_LE.defined()) json["expert_loads"] = rows_json(line.expert_loads_LE);
  if (line.expert_gradient_norms_LE.defined()) {
    json["expert_gradient_norms"] = rows_json(line.expert_gradient_norms_LE);
  }
  return json;
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
    : run_folder_(run_folder),
      json_(continue_file(run_folder + "/log.jsonl", "", steps_done, step_of_json)),
      csv_(continue_file(run_folder + "/log.csv", kColumns, steps_done, step_of_csv)) {
  const std::string folder = run_folder + "/tensorboard";
  std::filesystem::create_directories(folder);
  events_ = std::make_unique<formats::EventWriter>(folder, steps_done);
}

void RunLog::append(const LogLine& line) {
  json_ << to_json(line).dump() << std::endl;
  csv_ << fmt::format(
              "{},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.4g},{:.4g},{:.4g},{:.6g},{},{"
              "}\n",
              line.step,
              line.loss,
              line.mse,
              line.vb,
              line.balance,
              line.gradient_norm,
              line.lr,
              line.images_per_second,
              line.max_load,
              line.min_load,
              line.data_wait,
              line.max_gradient_norm,
              line.faults,
              line.held_out_loss ? fmt::format("{:.6g}", *line.held_out_loss) : "")
       << std::flush;
  if (!json_.good() || !csv_.good()) {
    base::log_warning("step {}: the log of the run cannot be written", line.step);
    json_.clear();
    csv_.clear();
  }
  try {
    append_events(line);
  } catch (const base::Error& error) {
    base::log_warning("step {}: {}", line.step, error.what());
  }
}

void RunLog::append_events(const LogLine& line) {
  const auto scalar = [&](const char* tag, double value) {
    events_->scalar(tag, line.step, value);
  };
  scalar("loss/total", line.loss);
  scalar("loss/mse", line.mse);
  if (line.vb != 0) scalar("loss/vb", line.vb);
  scalar("loss/balance", line.balance);
  if (line.held_out_loss) scalar("loss/held_out", *line.held_out_loss);
  scalar("gradient/norm", line.gradient_norm);
  scalar("gradient/largest_norm", line.max_gradient_norm);
  scalar("speed/images_per_second", line.images_per_second);
  scalar("speed/data_wait", line.data_wait);
  scalar("rate/lr", line.lr);
  scalar("faults", static_cast<double>(line.faults));
  if (line.expert_loads_LE.defined()) {
    scalar("experts/max_load", line.max_load);
    scalar("experts/min_load", line.min_load);
    for (int64_t layer = 0; layer < line.expert_loads_LE.size(0); ++layer) {
      const at::Tensor row = line.expert_loads_LE[layer].contiguous();
      events_->histogram(fmt::format("experts/load_{:02}", layer),
                         line.step,
                         {row.data_ptr<double>(), static_cast<size_t>(row.numel())});
    }
  }
  events_->flush();
}

void RunLog::image(const std::string& folder, int64_t step, const formats::Image& image) {
  std::filesystem::create_directories(run_folder_ + "/" + folder);
  const std::string path = fmt::format("{}/{}/step-{:08}.png", run_folder_, folder, step);
  formats::write_png(path, image);
  try {
    const formats::MappedFile file = formats::MappedFile::open(path);
    events_->image(folder, step, file.bytes(), image.width, image.height, image.channels);
    events_->flush();
  } catch (const base::Error& error) {
    base::log_warning("step {}: {}", step, error.what());
  }
}

}  // namespace ditmoe::training
