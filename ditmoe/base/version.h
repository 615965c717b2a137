#pragma once

#include <string_view>

namespace ditmoe::base {

// "0.1.0", from the build system.
std::string_view version();

}  // namespace ditmoe::base
