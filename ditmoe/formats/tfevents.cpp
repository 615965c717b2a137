#include "ditmoe/formats/tfevents.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <limits>
#include <optional>
#include <system_error>
#include <unistd.h>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/folder.h"
#include "ditmoe/formats/text.h"
#include "ditmoe/formats/tfevents.pb.h"
#include "ditmoe/formats/tfrecord.h"

namespace ditmoe::formats {
namespace {

namespace fs = std::filesystem;

// events.out.tfevents.SECONDS.HOST.PID.ditmoe: TensorBoard wants "tfevents" in a name, and the end
// tells our files from others.
constexpr std::string_view kPrefix = "events.out.tfevents.";
constexpr std::string_view kSuffix = ".ditmoe";

constexpr size_t kMaxPending = size_t{1} << 20;

std::string reason(int error) { return std::generic_category().message(error); }

// The seconds that the name of an event file of ours begins with; none for other names.
std::optional<int64_t> seconds_of(std::string_view name) {
  constexpr ptrdiff_t kMaxDigits = 18;  // fits
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), seconds);
  const ptrdiff_t digits = end - name.data();
  if (error != std::errc() || seconds < 0 || digits > kMaxDigits || *end != '.') {
    return std::nullopt;
  }
  return seconds;
}

// A copy that was to replace a file of ours when its writer was killed.
bool is_left_over(std::string_view name) {
  return name.starts_with(kPrefix) && name.find(".ditmoe.tmp.") != std::string_view::npos;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) base::bad_input("{}: cannot be read: {}", folder, error.message());
  std::ranges::sort(names);
  return names;
}

void remove_file(const std::string& path) {
  std::error_code error;
  fs::remove(path, error);
  if (error) base::failure("{}: cannot be removed: {}", path, error.message());
}

// Leaves in the file what events_until keeps of it.
void drop_after(const std::string& path, int64_t steps_done) {
  const MappedFile file = MappedFile::open(path);
  const KeptEvents kept = events_until(file.bytes(), steps_done);
  file.expect_whole();
  if (!kept.damage.empty()) base::log_warning("{}: {}; cut off there", path, kept.damage);
  // The first record is the version of the format.
  if (kept.num_records <= 1) return remove_file(path);
  if (kept.parts.size() == 1 && kept.parts[0].size() == file.bytes().size()) return;
  AtomicFile shorter(path);
  for (const auto part : kept.parts) shorter.write(part);
  file.expect_whole();
  shorter.commit();
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// This machine's name as part of a file's.
std::string host() {
  std::array<char, 65> buffer = {};
  if (::gethostname(buffer.data(), buffer.size() - 1) != 0) return "localhost";
  std::string name = buffer.data();
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-' && c != '.') c = '_';
  }
  return name.empty() ? "localhost" : name;
}

// Creates a file whose name comes after those of all seconds up to `newest`, even where the clock
// was turned back since. Returns its path and descriptor.
std::pair<std::string, int> create_after(const std::string& folder, int64_t newest) {
  for (int64_t seconds = std::max(static_cast<int64_t>(now()), newest + 1);; ++seconds) {
    std::string path =
        fmt::format("{}/{}{:010}.{}.{}{}", folder, kPrefix, seconds, host(), ::getpid(), kSuffix);
    // Appending: once half a record has been cut off, the next one goes where it began.
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC;
    const int descriptor = ::open(path.c_str(), flags, 0666);
    if (descriptor >= 0) return {std::move(path), descriptor};
    if (errno != EEXIST) base::failure("{}: cannot be written: {}", path, reason(errno));
  }
}

std::pair<std::string, int> continue_folder(const std::string& name, int64_t steps_done) {
  DITMOE_ASSERT(steps_done >= -1 && steps_done < std::numeric_limits<int64_t>::max());
  const std::string folder = without_slashes(name);
  expect_writable(fmt::format("{}/{}", folder, kPrefix));
  int64_t newest = 0;
  for (const std::string& file : names_in(folder)) {
    const std::string path = fmt::format("{}/{}", folder, file);
    if (is_left_over(file)) remove_file(path);
    const auto seconds = seconds_of(file);
    if (!seconds) continue;
    drop_after(path, steps_done);
    newest = std::max(newest, *seconds);
  }
  return create_after(folder, newest);
}

tfevents::Event event_of(int64_t step) {
  tfevents::Event event;
  event.set_wall_time(now());
  event.set_step(step);
  return event;
}

// Adds a value to the event's summary.
tfevents::Summary::Value& value_in(tfevents::Event& event, std::string_view tag) {
  DITMOE_ASSERT(is_utf8(tag));
  tfevents::Summary::Value& value = *event.mutable_summary()->add_value();
  value.set_tag(std::string(tag));
  return value;
}

}  // namespace

EventWriter::EventWriter(const std::string& folder, int64_t steps_done)
    : EventWriter(continue_folder(folder, steps_done)) {
  tfevents::Event version = event_of(0);
  version.set_file_version("brain.Event:2");
  add(version);
  // What TensorBoard has shown of this step and later ones, it forgets.
  tfevents::Event start = event_of(steps_done + 1);
  start.mutable_session_log()->set_status(tfevents::SessionLog::START);
  add(start);
  flush();
}

EventWriter::EventWriter(std::pair<std::string, int> path_and_descriptor)
    : path_(std::move(path_and_descriptor.first)), descriptor_(path_and_descriptor.second) {}

EventWriter::~EventWriter() {
  try {
    flush();
  } catch (const base::Error& error) {
    base::log_warning("{}", error.what());
  }
  ::close(descriptor_);
}

void EventWriter::scalar(std::string_view tag, int64_t step, double value) {
  tfevents::Event event = event_of(step);
  value_in(event, tag).set_simple_value(static_cast<float>(value));
  add(event);
}

void EventWriter::image(std::string_view tag,
                        int64_t step,
                        std::span<const std::byte> png,
                        int64_t width,
                        int64_t height,
                        int64_t channels) {
  constexpr int64_t kMaxSide = std::numeric_limits<int32_t>::max();
  DITMOE_ASSERT(width > 0 && width <= kMaxSide && height > 0 && height <= kMaxSide);
  DITMOE_ASSERT(channels == 1 || channels == 3 || channels == 4);
  tfevents::Event event = event_of(step);
  tfevents::Summary::Image& image = *value_in(event, tag).mutable_image();
  image.set_width(static_cast<int32_t>(width));
  image.set_height(static_cast<int32_t>(height));
  image.set_colorspace(static_cast<int32_t>(channels));
  image.set_encoded_image_string(png.data(), png.size());
  add(event);
}

void EventWriter::histogram(std::string_view tag, int64_t step, std::span<const double> counts) {
  tfevents::Event event = event_of(step);
  tfevents::HistogramProto& bars = *value_in(event, tag).mutable_histo();
  double num = 0;
  double sum = 0;
  double squares = 0;
  // TensorBoard takes min and max for the ends of the first and the last bar that are not empty.
  double min = 0;
  double max = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const auto left = static_cast<double>(i);
    const double middle = left + 0.5;
    if (counts[i] > 0 && num == 0) min = left;
    if (counts[i] > 0) max = left + 1;
    num += counts[i];
    sum += counts[i] * middle;
    squares += counts[i] * middle * middle;
    bars.add_bucket_limit(left + 1);
    bars.add_bucket(counts[i]);
  }
  bars.set_min(min);
  bars.set_max(max);
  bars.set_num(num);
  bars.set_sum(sum);
  bars.set_sum_squares(squares);
  add(event);
}

void EventWriter::add(const tfevents::Event& event) {
  const size_t bytes = event.ByteSizeLong();
  if (bytes > kMaxTfrecordBytes) {
    base::failure(
        "{}: expected an event of at most {} bytes, found {}", path_, kMaxTfrecordBytes, bytes);
  }
  append_tfrecord(pending_, event.SerializeAsString());
  if (pending_.size() >= kMaxPending) flush();
}

void EventWriter::flush() {
  std::string_view left = pending_;
  while (!left.empty()) {
    const ssize_t written = ::write(descriptor_, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const std::string why = reason(errno);
      pending_.clear();
      // Nothing behind half a record could be read.
      const bool whole = ::ftruncate(descriptor_, bytes_) == 0;
      base::failure("{}: cannot be written: {}{}", path_, why, whole ? "" : "; its end is damaged");
    }
    left.remove_prefix(static_cast<size_t>(written));
  }
  bytes_ += static_cast<int64_t>(pending_.size());
  pending_.clear();
}

KeptEvents events_until(std::span<const std::byte> bytes, int64_t steps_done) {
  KeptEvents kept;
  TfrecordReader reader(bytes);
  size_t end = 0;  // of the last part
  for (size_t begin = 0; const auto content = reader.next(); begin = reader.offset()) {
    tfevents::EventStep event;
    if (!event.ParseFromArray(content->data(), static_cast<int>(content->size()))) {
      kept.damage = fmt::format("byte {}: expected an event, found other bytes", begin);
      return kept;
    }
    if (event.step() > steps_done) continue;
    const auto record = bytes.subspan(begin, reader.offset() - begin);
    if (kept.parts.empty() || begin != end) {
      kept.parts.push_back(record);
    } else {
      kept.parts.back() = {kept.parts.back().data(), kept.parts.back().size() + record.size()};
    }
    end = reader.offset();
    ++kept.num_records;
  }
  kept.damage = reader.damage();
  return kept;
}

}  // namespace ditmoe::formats
