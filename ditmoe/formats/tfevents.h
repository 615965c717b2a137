#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ditmoe::formats {

namespace tfevents {
class Event;
}

// Writes what TensorBoard shows of a run. A run has a folder, and in it a file for each time that
// it was started or went on: TensorBoard reads the files of a folder in the order of their names.
// One writer at a time.
class EventWriter {
 public:
  // Begins a file in `folder`, which has to exist. Of the events that writers before left there,
  // those of steps up to steps_done stay and no others, as they will come again; -1 keeps none. A
  // file that is damaged, as by a kill or a full disk, ends before its first damage, with a
  // warning; one in which nothing is left is removed. Event files of other programs are let be. A
  // TensorBoard that shows the run drops the same events. Throws bad_input where the folder is
  // missing or not writable, or something in it that has the name of such a file cannot be read;
  // failure where the machine is at fault.
  EventWriter(const std::string& folder, int64_t steps_done);

  // Flushes. A failure is a warning.
  ~EventWriter();
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;

  // What follows adds an event of this moment. Tags are UTF-8; TensorBoard groups them by what
  // precedes their first "/". Throws failure as flush() does, and for more than 32 MiB.

  // A point of the curve `tag`, kept as f32.
  void scalar(std::string_view tag, int64_t step, double value);

  // A whole PNG file, which has this size and 1, 3 or 4 channels.
  void image(std::string_view tag,
             int64_t step,
             std::span<const std::byte> png,
             int64_t width,
             int64_t height,
             int64_t channels);

  // Bars: counts[i], not negative, from i to i + 1. Such as the tokens of each expert.
  void histogram(std::string_view tag, int64_t step, std::span<const double> counts);

  // Hands to the file what has been added, without waiting for the disk; happens by itself each
  // MiB. Throws failure naming the file, which then ends with the last flush that succeeded: what
  // was added since is lost, and adding may go on.
  void flush();

  const std::string& path() const { return path_; }

 private:
  explicit EventWriter(std::pair<std::string, int> path_and_descriptor);

  void add(const tfevents::Event& event);

  std::string path_;
  int descriptor_;
  int64_t bytes_ = 0;    // in the file
  std::string pending_;  // to come after them
};

// What continuing a run keeps of an event file.
struct KeptEvents {
  std::vector<std::span<const std::byte>> parts;  // of the file's bytes
  size_t num_records = 0;
  std::string damage;  // "byte 24: expected ..., found ...": where reading ended early; else ""
};

// The records of events up to steps_done among those before the first damage. Never throws for any
// bytes. The bytes must outlive the result.
KeptEvents events_until(std::span<const std::byte> bytes, int64_t steps_done);

}  // namespace ditmoe::formats
