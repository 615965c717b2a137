#pragma once

#include <string>
#include <string_view>

namespace ditmoe::formats {

// Whether text is UTF-8 as RFC 3629 has it: no overlong forms, no surrogates.
bool is_utf8(std::string_view text);

// Whether every character of this UTF-8 text exists in Latin-1.
bool fits_latin1(std::string_view utf8);

std::string latin1_to_utf8(std::string_view text);

// text must fit.
std::string utf8_to_latin1(std::string_view utf8);

}  // namespace ditmoe::formats
