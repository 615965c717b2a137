#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace ditmoe::pipeline {

// Cells of the built-in font, in pixels: 5x7 glyphs, two rows below the line for descenders, one
// empty column between them.
inline constexpr int64_t kGlyphWidth = 5;
inline constexpr int64_t kGlyphHeight = 9;
inline constexpr int64_t kGlyphAdvance = kGlyphWidth + 1;

// Rows from the top, in each the leftmost pixel is bit 4. Printable ASCII; any other
// character (each byte of UTF-8) is drawn as a hollow box.
const std::array<uint8_t, kGlyphHeight>& glyph(char character);

// Width of text in pixels, without a gap after the last character.
int64_t text_width(std::string_view text);

}  // namespace ditmoe::pipeline
