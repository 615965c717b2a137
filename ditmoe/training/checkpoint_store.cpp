#include "ditmoe/training/checkpoint_store.h"

#include <algorithm>
#include <filesystem>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/base/log.h"
#include "ditmoe/base/memory.h"
#include "ditmoe/formats/checksum.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/folder.h"

namespace ditmoe::training {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "manifest.json";
constexpr const char* kBest = "best.json";
constexpr const char* kPrefix = "step-";

void write_manifest(const fs::path& folder) {
  base::Json files = base::Json::object();
  for (const auto& entry : fs::directory_iterator(folder)) {
    const formats::Checksum checksum = formats::checksum_of(entry.path().string());
    files[entry.path().filename().string()] = {{"bytes", checksum.bytes},
                                               {"crc32", checksum.crc32}};
  }
  formats::write_text((folder / kManifest).string(), base::Json{{"files", files}}.dump(2) + "\n");
}

// Empty where every file is as the manifest says, else what is wrong.
std::string fault_of(const fs::path& folder) {
  try {
    const std::string path = (folder / kManifest).string();
    const base::Json manifest = base::parse_json(formats::read_text(path), path);
    const base::Json& files = manifest.at("files");
    if (files.empty()) return "manifest.json names no files";
    for (const auto& [name, expected] : files.items()) {
      const formats::Checksum found = formats::checksum_of((folder / name).string());
      if (found.bytes != expected.at("bytes").get<uint64_t>() ||
          found.crc32 != expected.at("crc32").get<uint32_t>()) {
        return fmt::format("{}: size or CRC-32 differs from the manifest", name);
      }
    }
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

bool is_leftover(const std::string& name) {
  return name.ends_with(".tmp") || name.find(".tmp.") != std::string::npos;
}

}  // namespace

CheckpointStore::CheckpointStore(std::string run_folder, int64_t keep)
    : run_folder_(std::move(run_folder)), keep_(keep) {
  DITMOE_ASSERT(keep >= 1);
}

std::string CheckpointStore::folder() const { return run_folder_ + "/checkpoints"; }

std::string CheckpointStore::path_of(int64_t step) const {
  return fmt::format("{}/{}{:08}", folder(), kPrefix, step);
}

// Finished checkpoints, oldest first.
std::vector<std::string> CheckpointStore::list() const {
  std::vector<std::string> found;
  if (!fs::exists(folder())) return found;
  for (const auto& entry : fs::directory_iterator(folder())) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kPrefix) && !is_leftover(name)) found.push_back(entry.path().string());
  }
  // Numbers of more than eight digits are longer and later.
  std::ranges::sort(found, [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  });
  return found;
}

void CheckpointStore::save(int64_t step, base::FunctionRef<void(const std::string& folder)> write) {
  const std::string final_name = path_of(step);
  if (fs::exists(final_name)) return;
  const std::string temporary = final_name + ".tmp";
  fs::remove_all(temporary);
  try {
    fs::create_directories(temporary);
    write(temporary);
    write_manifest(temporary);
    formats::rename_folder(temporary, final_name);
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    base::failure("{}: cannot write the checkpoint: {}", final_name, error.what());
  }
  prune();
}

void CheckpointStore::prune() const {
  const std::vector<std::string> all = list();
  const std::optional<Best> kept = best();
  const auto keep = static_cast<size_t>(keep_);
  for (size_t i = 0; i + keep < all.size(); ++i) {
    if (!kept || all[i] != path_of(kept->step)) fs::remove_all(all[i]);
  }
}

std::optional<std::string> CheckpointStore::newest() {
  const std::vector<std::string> all = list();
  for (auto path = all.rbegin(); path != all.rend(); ++path) {
    const std::string fault = fault_of(*path);
    if (fault.empty()) return *path;
    const fs::path aside = fs::path(folder()) / ("damaged-" + fs::path(*path).filename().string());
    base::log_warning("{}: set aside as {}: {}", *path, aside.string(), fault);
    fs::remove_all(aside);
    formats::rename_folder(*path, aside.string());
  }
  if (!all.empty()) base::bad_input("{}: every checkpoint is damaged", run_folder_);
  return std::nullopt;
}

bool CheckpointStore::any() const { return !list().empty(); }

void CheckpointStore::set_best(int64_t step, double loss) {
  formats::write_text(folder() + "/" + kBest,
                      base::Json{{"step", step}, {"loss", loss}}.dump() + "\n");
  prune();
}

std::optional<CheckpointStore::Best> CheckpointStore::best() const {
  const std::string path = folder() + "/" + kBest;
  if (!fs::exists(path)) return std::nullopt;
  const base::Json json = base::Json::parse(formats::read_text(path), nullptr, false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer() ||
      !json.contains("loss") || !json["loss"].is_number()) {
    return std::nullopt;
  }
  const Best best = {json["step"].get<int64_t>(), json["loss"].get<double>()};
  return fs::exists(path_of(best.step)) ? std::optional(best) : std::nullopt;
}

void CheckpointStore::forget_after(int64_t step) {
  const std::optional<Best> found = best();
  if (!found || found->step > step) fs::remove(folder() + "/" + kBest);
}

void CheckpointStore::expect_room(int64_t bytes) const {
  std::error_code error;
  const fs::space_info space = fs::space(run_folder_, error);
  if (error || static_cast<int64_t>(space.available) >= bytes) return;
  base::failure("{}: expected room for {} of checkpoints, found {}",
                run_folder_,
                base::bytes_text(static_cast<uint64_t>(bytes)),
                base::bytes_text(space.available));
}

void CheckpointStore::remove_leftovers() const {
  for (const std::string& place : {run_folder_, folder()}) {
    if (!fs::exists(place)) continue;
    std::vector<fs::path> leftovers;
    for (const auto& entry : fs::directory_iterator(place)) {
      if (is_leftover(entry.path().filename().string())) leftovers.push_back(entry.path());
    }
    for (const fs::path& leftover : leftovers) fs::remove_all(leftover);
  }
}

}  // namespace ditmoe::training
