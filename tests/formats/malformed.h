#pragma once

#include <ostream>
#include <string>

namespace ditmoe::formats::test {

// A damaged or hostile file and what the error about it must say.
struct MalformedCase {
  std::string name;
  std::string file;
  std::string message;
};

inline void PrintTo(const MalformedCase& malformed, std::ostream* out) { *out << malformed.name; }

// Names the instances of a parameterised test.
inline const auto name_of_case = [](const auto& info) { return info.param.name; };

}  // namespace ditmoe::formats::test
