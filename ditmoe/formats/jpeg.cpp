#include "ditmoe/formats/jpeg.h"

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <jpeglib.h>
#include <vector>
// Uses what jpeglib.h declares.
#include <jerror.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"

// libjpeg reports errors by a function that must not return. Ours jumps, and a jump must not skip a
// destructor: as in png.cpp, whatever calls libjpeg has trivially destructible locals only.

namespace ditmoe::formats {
namespace {

using base::bad_input;

// A block of 8x8 samples takes at least a bit, and at most ten blocks share one pixel's worth of
// file; no JPEG that an encoder wrote comes near.
constexpr uint64_t kMaxExpansion = 2048;

// A file of several scans is decoded in memory: what it may take there for a byte of the file.
constexpr uint64_t kMaxScanMemory = 256;

// A scan costs a pass over all pixels but only a few bytes. Encoders write about ten.
constexpr int kMaxScans = 256;

// Pixels passed over in all scans: this many, and more for each byte of the file.
constexpr uint64_t kMaxPasses = uint64_t{1} << 28;
constexpr uint64_t kMaxPassesPerByte = 1024;

struct Fault {
  jpeg_error_mgr manager;  // first: libjpeg hands back its address
  std::jmp_buf jump;
  std::array<char, JMSG_LENGTH_MAX> message;
  uint64_t max_passes;
};

[[noreturn]] void on_error(j_common_ptr jpeg) {
  auto* fault = reinterpret_cast<Fault*>(jpeg->err);
  jpeg->err->format_message(jpeg, fault->message.data());
  std::longjmp(fault->jump, 1);
}

// libjpeg goes on after a warning, with grey or repeated pixels where the data were damaged. What
// leaves all pixels as they were written is let pass.
void on_message(j_common_ptr jpeg, int level) {
  if (level >= 0) return;  // a trace
  switch (jpeg->err->msg_code) {
    case JWRN_ADOBE_XFORM:
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL:
      return;
    default:
      on_error(jpeg);
  }
}

void on_progress(j_common_ptr jpeg) {
  const auto* decompress = reinterpret_cast<j_decompress_ptr>(jpeg);
  auto* fault = reinterpret_cast<Fault*>(jpeg->err);
  const auto scans = static_cast<uint64_t>(std::max(decompress->input_scan_number, 0));
  const uint64_t pixels = uint64_t{decompress->image_width} * decompress->image_height;
  const uint64_t most =
      std::min(uint64_t{kMaxScans}, fault->max_passes / std::max(pixels, uint64_t{1}));
  if (scans <= std::max(most, uint64_t{1})) return;
  std::snprintf(fault->message.data(),
                fault->message.size(),
                "expected at most %d scans",
                static_cast<int>(most));
  std::longjmp(fault->jump, 1);
}

// a·b/255, rounded.
int scale_byte(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

// In place, from the front: a pixel of three bytes never reaches one of four that is still to come.
void inverted_cmyk_to_rgb(std::vector<uint8_t>& pixels) {
  const size_t count = pixels.size() / 4;
  for (size_t i = 0; i < count; ++i) {
    const std::array<uint8_t, 4> inverted = {
        pixels[4 * i], pixels[4 * i + 1], pixels[4 * i + 2], pixels[4 * i + 3]};
    const int white = inverted[3];
    for (size_t c = 0; c < 3; ++c) {
      pixels[3 * i + c] = static_cast<uint8_t>(white - scale_byte(255 - inverted[c], white));
    }
  }
  pixels.resize(3 * count);
}

class Decoder {
 public:
  Decoder(std::span<const std::byte> file, const std::string& path) : file_(file), path_(path) {}

  // Fit for a decoder whose creation failed, too.
  ~Decoder() { jpeg_destroy_decompress(&jpeg_); }

  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  Image decode() {
    open();
    const size_t row_bytes = size_t{jpeg_.output_width} * jpeg_.output_components;
    const size_t bytes = row_bytes * jpeg_.output_height;
    // By now a file of several scans was read to its end.
    if (bytes > file_.size() + kMaxUnproven && jpeg_has_multiple_scans(&jpeg_) == 0) {
      Decoder(file_, path_).check();
    }
    Image image;
    image.width = jpeg_.output_width;
    image.height = jpeg_.output_height;
    image.channels = 3;
    image.pixels_HWC.resize(bytes);
    if (!read_pixels(image.pixels_HWC.data(), row_bytes)) fail();
    if (jpeg_.output_components == 4) inverted_cmyk_to_rgb(image.pixels_HWC);
    return image;
  }

 private:
  // Reads all before the pixels, and all scans where there are several.
  void open() {
    if (!read_header()) fail();
    check_size();
    if (!start()) fail();
  }

  // Reads the image to its end and keeps one row.
  void check() {
    open();
    std::vector<uint8_t> row(size_t{jpeg_.output_width} * jpeg_.output_components);
    if (!read_pixels(row.data(), 0)) fail();
  }

  [[noreturn]] void fail() const {
    const int code = fault_.manager.msg_code;
    if (code == JERR_OUT_OF_MEMORY || code == JERR_NO_BACKING_STORE) {
      base::failure("{}: out of memory for a JPEG", path_);
    }
    const size_t left = jpeg_.src == nullptr ? 0 : jpeg_.src->bytes_in_buffer;
    bad_input("{}: byte {}: damaged JPEG: {}", path_, file_.size() - left, fault_.message.data());
  }

  // False after a fault, like the other two that call libjpeg.
  bool read_header() {
    jpeg_.err = jpeg_std_error(&fault_.manager);
    fault_.manager.error_exit = on_error;
    fault_.manager.emit_message = on_message;
    fault_.max_passes = kMaxPasses + kMaxPassesPerByte * file_.size();
    if (setjmp(fault_.jump) != 0) return false;
    jpeg_create_decompress(&jpeg_);
    progress_.progress_monitor = on_progress;
    jpeg_.progress = &progress_;
    jpeg_mem_src(&jpeg_, reinterpret_cast<const unsigned char*>(file_.data()), file_.size());
    jpeg_read_header(&jpeg_, TRUE);
    return true;
  }

  // Refuses sizes the file cannot hold before anything is allocated that depends on them.
  void check_size() {
    const uint64_t pixels = uint64_t{jpeg_.image_width} * jpeg_.image_height;
    const auto components = static_cast<uint64_t>(jpeg_.num_components);
    if (components != 1 && components != 3 && components != 4) {
      bad_input("{}: expected a JPEG of 1, 3 or 4 components, found {}", path_, components);
    }
    if (pixels > kMaxPixels) {
      bad_input("{}: expected at most {} pixels, found {}x{}",
                path_,
                kMaxPixels,
                jpeg_.image_width,
                jpeg_.image_height);
    }
    if (pixels * components / kMaxExpansion > file_.size()) {
      bad_input("{}: {}x{} pixels are more than {} bytes can hold",
                path_,
                jpeg_.image_width,
                jpeg_.image_height,
                file_.size());
    }
    // Two bytes a sample, all components as large as the image.
    if (jpeg_has_multiple_scans(&jpeg_) != 0 &&
        2 * pixels * components > kMaxUnproven + kMaxScanMemory * file_.size()) {
      bad_input("{}: {}x{} pixels in several scans are more than a file of {} bytes may have",
                path_,
                jpeg_.image_width,
                jpeg_.image_height,
                file_.size());
    }
  }

  bool start() {
    if (setjmp(fault_.jump) != 0) return false;
    jpeg_.out_color_space = jpeg_.num_components == 4 ? JCS_CMYK : JCS_RGB;
    jpeg_.dct_method = JDCT_ISLOW;
    jpeg_start_decompress(&jpeg_);
    return true;
  }

  // Rows go to first_row and every row_stride bytes from there.
  bool read_pixels(uint8_t* first_row, size_t row_stride) {
    if (setjmp(fault_.jump) != 0) return false;
    while (jpeg_.output_scanline < jpeg_.output_height) {
      JSAMPROW row = first_row + jpeg_.output_scanline * row_stride;
      jpeg_read_scanlines(&jpeg_, &row, 1);
    }
    return true;
  }

  std::span<const std::byte> file_;
  const std::string& path_;
  Fault fault_ = {};
  jpeg_progress_mgr progress_ = {};
  jpeg_decompress_struct jpeg_ = {};
};

}  // namespace

Image read_jpeg_rgb(std::span<const std::byte> file, const std::string& path) {
  return Decoder(file, path).decode();
}

}  // namespace ditmoe::formats
