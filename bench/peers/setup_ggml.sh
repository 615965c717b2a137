#!/usr/bin/env bash
# Installs ggml's shared objects from npm into build/peers and compiles build/peers/ggml_moe.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly package=@node-llama-cpp/linux-x64 version=3.22.1

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  cat <<TEXT
usage: bench/peers/setup_ggml.sh

Installs the npm package $package $version (MIT, 30 MB) into build/peers and compiles
build/peers/ggml_moe, which loads its libggml-base.so and libggml-cpu-*.so. Needs npm and g++.
TEXT
  exit 0
fi

die() {
  printf 'setup_ggml.sh: %s\n' "$*" >&2
  exit 2
}

command -v npm >/dev/null || die "npm is missing: install the Debian packages nodejs and npm"
command -v g++ >/dev/null || die "g++ is missing: install the Debian package g++"

readonly folder="$PWD/build/peers/node_modules/$package"
mkdir -p build/peers
if ! grep -qs "\"version\": \"$version\"" "$folder/package.json"; then
  npm install --prefix build/peers --ignore-scripts --no-audit --no-fund --save-exact \
    "$package@$version" >&2 || die "npm could not install $package@$version"
fi

g++ -std=c++20 -O2 -Wall -Wextra -Wpedantic -DDITMOE_GGML_FOLDER="\"$folder/bins/linux-x64\"" \
  bench/peers/ggml_moe.cpp bench/peers/ggml_layer.cpp bench/peers/ggml_api.cpp \
  bench/peers/moe_problem.cpp -ldl -o build/peers/ggml_moe
echo build/peers/ggml_moe
