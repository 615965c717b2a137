#!/usr/bin/env bash
# Installs ONNX Runtime's Node binding, which carries libonnxruntime, from npm into build/peers.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly package=onnxruntime-node version=1.30.0

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  cat <<TEXT
usage: bench/peers/setup_onnxruntime.sh

Installs the npm package $package $version (MIT, 290 MB, most of it for other systems) into
build/peers. Needs nodejs and npm.
TEXT
  exit 0
fi

die() {
  printf 'setup_onnxruntime.sh: %s\n' "$*" >&2
  exit 2
}

command -v npm >/dev/null || die "npm is missing: install the Debian packages nodejs and npm"

readonly folder="build/peers/node_modules/$package"
mkdir -p build/peers
if ! grep -qs "\"version\": \"$version\"" "$folder/package.json"; then
  # Its install script would download CUDA libraries that the CPU does not need.
  npm install --prefix build/peers --ignore-scripts --no-audit --no-fund --save-exact \
    "$package@$version" >&2 || die "npm could not install $package@$version"
fi
echo "$folder"
