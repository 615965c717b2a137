#pragma once

// Force-included by `./run tidy` into files that include torch; never part of a build.
//
// clang 14 cannot parse libtorch 1.13's headers as C++20 with libstdc++ 12: there the members of
// std::vector are constexpr, so that clang needs the complete type at once for a
// vector<c10::IValue> whose element is only forward declared. Here <vector> is read with the
// constexpr of C++20 switched off, which defers that as in C++17; everything else keeps it, so
// <string>, which shares most of what <vector> includes, comes first. <string> has then already
// declared as constexpr one overload of __fill_a1 that <vector> defines without; the second macro
// makes that definition a function of its own.
#include <string>

#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR
#define __fill_a1 fill_a1_of_vector
#include <vector>
#undef __fill_a1
#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR constexpr
