#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/tfevents.h"
#include "ditmoe/formats/tfrecord.h"

#include "temp_dir.h"

// TensorBoard's event files, decoded without protobuf and what it made of our messages.

namespace ditmoe::formats::test {

// A field of a protobuf message: its number and its value, as a number or as bytes.
struct WireField {
  uint64_t number = 0;
  uint64_t bits = 0;
  std::string bytes;
};

inline uint64_t take_varint(std::string_view& rest) {
  uint64_t value = 0;
  for (int shift = 0; !rest.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(rest.front());
    rest.remove_prefix(1);
    value |= uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) break;
  }
  return value;
}

inline std::vector<WireField> wire_fields(std::string_view rest) {
  std::vector<WireField> fields;
  while (!rest.empty()) {
    const uint64_t key = take_varint(rest);
    WireField field{key >> 3, 0, ""};
    const uint64_t type = key & 7;
    if (type == 0) {
      field.bits = take_varint(rest);
    } else {
      const uint64_t size = type == 1 ? 8 : type == 5 ? 4 : take_varint(rest);
      field.bytes = rest.substr(0, size);
      rest.remove_prefix(size);
      for (size_t i = 0; type != 2 && i < size; ++i) {
        field.bits |= uint64_t{static_cast<unsigned char>(field.bytes[i])} << (8 * i);
      }
    }
    fields.push_back(field);
  }
  return fields;
}

inline std::string doubles_of(const std::string& packed) {
  std::string text;
  for (size_t i = 0; i + 8 <= packed.size(); i += 8) {
    const auto bits = load_little<uint64_t>(reinterpret_cast<const std::byte*>(&packed[i]));
    text += fmt::format("{}{}", i == 0 ? "" : ",", std::bit_cast<double>(bits));
  }
  return text;
}

// "min=1 max=3 ..." of a histogram; "3x2x1 PNG" of an image of width, height and channels.
inline std::string text_of_histogram(std::string_view message) {
  constexpr const char* kNames[] = {"", "min", "max", "num", "sum", "squares", "limits", "counts"};
  std::string text;
  for (const WireField& field : wire_fields(message)) {
    const char* space = text.empty() ? "" : " ";
    text += fmt::format("{}{}={}", space, kNames[field.number], doubles_of(field.bytes));
  }
  return text;
}

inline std::string text_of_image(std::string_view message) {
  uint64_t sides[4] = {};
  std::string png;
  for (const WireField& field : wire_fields(message)) {
    if (field.number < 4) sides[field.number] = field.bits;
    if (field.number == 4) png = field.bytes;
  }
  return fmt::format("{}x{}x{} {}", sides[2], sides[1], sides[3], png);
}

inline std::string text_of_value(std::string_view message) {
  std::string text;
  for (const WireField& field : wire_fields(message)) {
    if (field.number == 1) text += field.bytes + " = ";
    if (field.number == 2) {
      text += fmt::format("{}", std::bit_cast<float>(static_cast<uint32_t>(field.bits)));
    }
    if (field.number == 4) text += text_of_image(field.bytes);
    if (field.number == 5) text += text_of_histogram(field.bytes);
  }
  return text;
}

struct LoggedEvent {
  double wall_time = 0;
  int64_t step = 0;
  std::string what;  // "brain.Event:2", "start", "loss = 0.5"
};

inline LoggedEvent logged_event(std::string_view message) {
  LoggedEvent event;
  for (const WireField& field : wire_fields(message)) {
    if (field.number == 1) event.wall_time = std::bit_cast<double>(field.bits);
    if (field.number == 2) event.step = static_cast<int64_t>(field.bits);
    if (field.number == 3) event.what += field.bytes;
    if (field.number == 5) event.what += text_of_value(wire_fields(field.bytes).at(0).bytes);
    if (field.number == 7) event.what += field.bytes == "\x08\x01" ? "start" : "?";
  }
  return event;
}

// The events of a file, which has to be whole.
inline std::vector<LoggedEvent> logged_events(const std::string& path) {
  const std::string file = bytes_of(path);
  TfrecordReader reader(std::as_bytes(std::span(file)));
  std::vector<LoggedEvent> events;
  while (const auto content = reader.next()) {
    events.push_back(
        logged_event({reinterpret_cast<const char*>(content->data()), content->size()}));
  }
  EXPECT_EQ(reader.damage(), "") << path;
  return events;
}

// What TensorBoard reads of a folder: the files in the order of their names, each event as
// "STEP WHAT".
inline std::vector<std::string> log_of(const TempDir& dir) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    const std::string name = entry.path().filename().string();
    if (name.find("tfevents") != std::string::npos) paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> log;
  for (const std::string& path : paths) {
    for (const LoggedEvent& event : logged_events(path)) {
      log.push_back(fmt::format("{} {}", event.step, event.what));
    }
  }
  return log;
}

// What log_of() says of a file's first event.
inline const std::string kVersion = "0 brain.Event:2";

inline std::span<const std::byte> span_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// Goes on after steps_done with the curve "a", 10 times the step, at steps first to last; returns
// the file's path.
inline std::string write_steps(const TempDir& dir,
                               int64_t steps_done,
                               int64_t first,
                               int64_t last) {
  EventWriter writer(dir.path().string(), steps_done);
  for (int64_t step = first; step <= last; ++step) {
    writer.scalar("a", step, static_cast<double>(10 * step));
  }
  return writer.path();
}

}  // namespace ditmoe::formats::test
