#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <jpeglib.h>
#include <string>
#include <vector>

namespace ditmoe::tests {

// How a JPEG is to be written; the default is that of most programs.
struct JpegSpec {
  J_COLOR_SPACE input = JCS_RGB;     // of the samples given
  J_COLOR_SPACE stored = JCS_YCbCr;  // in the file
  int quality = 90;
  int luma_h = 2;  // sampling factors of the first component; the others have 1
  int luma_v = 2;
  bool progressive = false;
  int levels = 0;  // of each coefficient of one component, a scan for each: 1 + 63 * levels scans
  bool arithmetic = false;
  int restart_rows = 0;
  bool adobe = true;         // the marker that tells how four components are meant
  std::string application1;  // contents of an APP1 marker (EXIF)
};

inline std::vector<jpeg_scan_info> scans_of_levels(int levels) {
  std::vector<jpeg_scan_info> scans = {{1, {0}, 0, 0, 0, 0}};
  for (int level = levels - 1; level >= 0; --level) {
    for (int k = 1; k < 64; ++k) {
      scans.push_back({1, {0}, k, k, level == levels - 1 ? 0 : level + 1, level});
    }
  }
  return scans;
}

// The bytes of a JPEG file with these samples, interleaved by pixel.
inline std::string write_jpeg(int width,
                              int height,
                              int components,
                              const std::vector<uint8_t>& samples,
                              const JpegSpec& spec = {}) {
  jpeg_compress_struct jpeg = {};
  jpeg_error_mgr errors = {};
  jpeg.err = jpeg_std_error(&errors);  // faults end the test program
  jpeg_create_compress(&jpeg);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &bytes, &size);
  jpeg.image_width = static_cast<JDIMENSION>(width);
  jpeg.image_height = static_cast<JDIMENSION>(height);
  jpeg.input_components = components;
  jpeg.in_color_space = spec.input;
  jpeg_set_defaults(&jpeg);
  jpeg_set_colorspace(&jpeg, spec.stored);
  jpeg_set_quality(&jpeg, spec.quality, TRUE);
  if (jpeg.num_components > 1) {
    jpeg.comp_info[0].h_samp_factor = spec.luma_h;
    jpeg.comp_info[0].v_samp_factor = spec.luma_v;
  }
  if (spec.progressive) jpeg_simple_progression(&jpeg);
  const std::vector<jpeg_scan_info> scans = scans_of_levels(spec.levels);
  if (spec.levels > 0) {
    jpeg.scan_info = scans.data();
    jpeg.num_scans = static_cast<int>(scans.size());
  }
  jpeg.arith_code = spec.arithmetic ? TRUE : FALSE;
  jpeg.restart_in_rows = spec.restart_rows;
  if (!spec.adobe) jpeg.write_Adobe_marker = FALSE;
  jpeg_start_compress(&jpeg, TRUE);
  if (!spec.application1.empty()) {
    jpeg_write_marker(&jpeg,
                      JPEG_APP0 + 1,
                      reinterpret_cast<const JOCTET*>(spec.application1.data()),
                      static_cast<unsigned>(spec.application1.size()));
  }
  while (jpeg.next_scanline < jpeg.image_height) {
    auto* row = const_cast<JSAMPROW>(samples.data()) +
                static_cast<size_t>(jpeg.next_scanline) * width * components;
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  std::string result(reinterpret_cast<const char*>(bytes), size);
  jpeg_destroy_compress(&jpeg);
  std::free(bytes);
  return result;
}

// Samples with smooth and rough parts; the same for the same arguments.
inline std::vector<uint8_t> picture(int width, int height, int components, uint32_t seed = 1) {
  std::vector<uint8_t> samples;
  uint32_t state = seed;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < components; ++c) {
        state = state * 1664525 + 1013904223;
        const uint32_t noise = (x / 8 + y / 8) % 3 == 0 ? state >> 24 : state >> 29;
        samples.push_back(static_cast<uint8_t>(3 * x + 5 * y * (c + 1) + noise));
      }
    }
  }
  return samples;
}

}  // namespace ditmoe::tests
