#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace ditmoe::base {

// Text of a file as a message may show it: in double quotes, on one line, control characters,
// those that turn the direction of writing, and bytes that are not UTF-8 escaped as \n or \x1b, cut
// after `longest` bytes with the full length said.
std::string quoted(std::string_view text, size_t longest = 120);

// The same whole and without the quotes around it, for lists of names: what may be shown as it is
// stays what it is.
std::string escaped(std::string_view text);

}  // namespace ditmoe::base
