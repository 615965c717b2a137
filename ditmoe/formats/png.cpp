#include "ditmoe/formats/png.h"

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <span>

#include <png.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/png_text.h"
#include "ditmoe/formats/text.h"

// libpng reports errors by longjmp, which must not skip a destructor. So each function below that
// calls setjmp or may be jumped out of has trivially destructible locals only; whatever owns memory
// lives in a caller outside the jump.

namespace ditmoe::formats {
namespace {

using base::bad_input;

constexpr size_t kSignatureBytes = 8;
constexpr png_uint_32 kMaxSide = 1 << 20;  // libpng holds two rows, of up to 8 bytes a pixel

struct Fault {
  std::array<char, 200> message = {};
  bool out_of_memory = false;
};

void on_error(png_structp png, png_const_charp message) {
  auto* fault = static_cast<Fault*>(png_get_error_ptr(png));
  std::strncpy(fault->message.data(), message, fault->message.size() - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp /*png*/, png_const_charp /*message*/) {}

// What libpng says for want of memory depends on what it wanted it for.
png_voidp allocate(png_structp png, png_alloc_size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) static_cast<Fault*>(png_get_mem_ptr(png))->out_of_memory = true;
  return memory;
}

void release(png_structp /*png*/, png_voidp memory) { std::free(memory); }

struct Input {
  std::span<const std::byte> file;
  size_t position = 0;
};

void read_bytes(png_structp png, png_bytep out, size_t size) {
  auto* input = static_cast<Input*>(png_get_io_ptr(png));
  if (size > input->file.size() - input->position) png_error(png, "unexpected end of the file");
  std::memcpy(out, input->file.data() + input->position, size);
  input->position += size;
}

enum class Output {
  kAsStored,  // grey, RGB or RGBA, with text
  kRgb,
};

class Reader {
 public:
  Reader(std::span<const std::byte> file, const std::string& path, Output output)
      : path_(path), output_(output), input_{file, 0} {
    png_ = png_create_read_struct_2(
        PNG_LIBPNG_VER_STRING, &fault_, on_error, on_warning, &fault_, allocate, release);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      fail_for_memory();
    }
  }

  ~Reader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  Image read() {
    open();
    Image image;
    image.width = png_get_image_width(png_, info_);
    image.height = png_get_image_height(png_, info_);
    image.channels = png_get_channels(png_, info_);
    const size_t row_bytes = png_get_rowbytes(png_, info_);
    DITMOE_ASSERT(row_bytes == static_cast<size_t>(image.width * image.channels));
    const uint64_t bytes = row_bytes * static_cast<uint64_t>(image.height);
    if (bytes > input_.file.size() + kMaxUnproven) Reader(input_.file, path_, output_).check();
    image.pixels_HWC.resize(static_cast<size_t>(bytes));
    if (!read_pixels(image.pixels_HWC.data(), row_bytes)) fail();
    if (output_ == Output::kAsStored) image.text = read_png_text(input_.file, path_);
    return image;
  }

 private:
  // Reads the header, and settles what the pixels come out as.
  void open() {
    if (!read_info()) fail();
    check_size();
    if (!choose_output()) fail();
  }

  // Reads the image to its end and keeps one row.
  void check() {
    open();
    std::vector<uint8_t> row(png_get_rowbytes(png_, info_));
    if (!read_pixels(row.data(), 0)) fail();
  }

  [[noreturn]] void fail_for_memory() const { base::failure("{}: out of memory for a PNG", path_); }

  [[noreturn]] void fail() const {
    if (fault_.out_of_memory) fail_for_memory();
    bad_input("{}: byte {}: damaged PNG: {}", path_, input_.position, fault_.message.data());
  }

  // Reads all before the pixels. False after a fault, like the other two that call libpng.
  bool read_info() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_read_fn(png_, &input_, read_bytes);
    png_set_user_limits(png_, kMaxSide, kMaxSide);
    // All but what the pixels need: profiles and texts can expand to any size.
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_set_chunk_malloc_max(png_, 0);  // skipped chunks may be large
    png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_read_info(png_, info_);
    return true;
  }

  // Refuses sizes the file cannot hold before libpng allocates anything that depends on them.
  void check_size() const {
    const uint64_t width = png_get_image_width(png_, info_);
    const uint64_t height = png_get_image_height(png_, info_);
    if (width > kMaxPixels / height) {
      bad_input(
          "{}: byte 16: expected at most {} pixels, found {}x{}", path_, kMaxPixels, width, height);
    }
    if (png_get_rowbytes(png_, info_) * height / kMaxInflation > input_.file.size()) {
      bad_input("{}: byte 16: {}x{} pixels are more than {} bytes can hold",
                path_,
                width,
                height,
                input_.file.size());
    }
  }

  // Asks for 8-bit grey, RGB or RGBA.
  bool choose_output() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_expand(png_);
    const bool transparent = (png_get_color_type(png_, info_) & PNG_COLOR_MASK_ALPHA) != 0 ||
                             png_get_valid(png_, info_, PNG_INFO_tRNS) != 0;
    if (output_ == Output::kRgb) {
      png_set_strip_16(png_);
      png_set_gray_to_rgb(png_);
      png_set_strip_alpha(png_);
    } else {
      png_set_scale_16(png_);
      if (transparent) png_set_gray_to_rgb(png_);
    }
    num_passes_ = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  // Rows go to first_row and every row_stride bytes from there. Later passes of an interlaced image
  // add to the rows of the earlier ones.
  bool read_pixels(png_bytep first_row, size_t row_stride) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    for (int pass = 0; pass < num_passes_; ++pass) {
      for (size_t y = 0; y < png_get_image_height(png_, info_); ++y) {
        png_read_row(png_, first_row + y * row_stride, nullptr);
      }
    }
    png_read_end(png_, nullptr);
    return true;
  }

  const std::string& path_;
  Output output_;
  Fault fault_;
  Input input_;
  int num_passes_ = 1;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

// A keyword is 1 to 79 printable Latin-1 characters with single spaces inside (PNG 11.3.4.2); ours
// are ASCII.
bool is_keyword(std::string_view keyword) {
  const bool printable_ascii =
      std::all_of(keyword.begin(), keyword.end(), [](char c) { return c >= ' ' && c <= '~'; });
  return !keyword.empty() && keyword.size() <= 79 && printable_ascii && keyword.front() != ' ' &&
         keyword.back() != ' ' && keyword.find("  ") == std::string_view::npos;
}

class Writer {
 public:
  explicit Writer(const std::string& path) : path_(path), file_(path) {
    png_ = png_create_write_struct(PNG_LIBPNG_VER_STRING, &fault_, on_error, on_warning);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_write_struct(&png_, nullptr);
      base::failure("{}: out of memory for a PNG", path_);
    }
  }

  ~Writer() { png_destroy_write_struct(&png_, &info_); }

  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void write(const Image& image) {
    std::vector<std::string> contents;
    std::vector<png_text> texts;
    contents.reserve(image.text.size());  // texts points into it
    for (const auto& [keyword, text] : image.text) {
      if (!is_keyword(keyword) || !is_utf8(text) || text.find('\0') != std::string::npos) {
        base::failure(
            "{}: cannot be written: text {} is not valid in a PNG", path_, printable(keyword));
      }
      const bool latin1 = fits_latin1(text);
      contents.push_back(latin1 ? utf8_to_latin1(text) : text);
      png_text& entry = texts.emplace_back();
      entry.compression = latin1 ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
      entry.key = const_cast<png_charp>(keyword.c_str());
      entry.text = contents.back().data();
    }
    if (!write_all(image, texts)) {
      base::failure("{}: cannot be written: {}", path_, fault_.message.data());
    }
    file_.commit();
  }

 private:
  // False after a fault.
  bool write_all(const Image& image, std::span<const png_text> texts) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    const int color = image.channels == 1   ? PNG_COLOR_TYPE_GRAY
                      : image.channels == 3 ? PNG_COLOR_TYPE_RGB
                                            : PNG_COLOR_TYPE_RGBA;
    png_init_io(png_, file_.stream());
    png_set_user_limits(png_, kMaxPixels, kMaxPixels);
    png_set_IHDR(png_,
                 info_,
                 static_cast<png_uint_32>(image.width),
                 static_cast<png_uint_32>(image.height),
                 8,
                 color,
                 PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    if (!texts.empty()) png_set_text(png_, info_, texts.data(), static_cast<int>(texts.size()));
    png_write_info(png_, info_);
    const auto row_bytes = static_cast<size_t>(image.width * image.channels);
    for (int64_t y = 0; y < image.height; ++y) {
      png_write_row(png_, image.pixels_HWC.data() + static_cast<size_t>(y) * row_bytes);
    }
    png_write_end(png_, nullptr);
    return true;
  }

  const std::string& path_;
  AtomicFile file_;
  Fault fault_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

}  // namespace

Image read_png(const std::string& path) {
  const MappedFile file = MappedFile::open(path);
  Image image = read_png(file.bytes(), path);
  file.expect_whole();
  return image;
}

namespace {

Image read_as(Output output, std::span<const std::byte> bytes, const std::string& path) {
  if (bytes.size() < kSignatureBytes ||
      png_sig_cmp(reinterpret_cast<png_const_bytep>(bytes.data()), 0, kSignatureBytes) != 0) {
    bad_input("{}: byte 0: expected the signature of a PNG file", path);
  }
  // libpng looks for it among the chunks that it skips.
  constexpr size_t kTypeEnd = kSignatureBytes + 8;
  if (bytes.size() >= kTypeEnd && std::memcmp(bytes.data() + kTypeEnd - 4, "IHDR", 4) != 0) {
    bad_input("{}: byte 12: expected a header, found another chunk", path);
  }
  return Reader(bytes, path, output).read();
}

}  // namespace

Image read_png(std::span<const std::byte> bytes, const std::string& path) {
  return read_as(Output::kAsStored, bytes, path);
}

Image read_png_rgb(std::span<const std::byte> bytes, const std::string& path) {
  return read_as(Output::kRgb, bytes, path);
}

void write_png(const std::string& path, const Image& image) {
  DITMOE_ASSERT(image.width > 0 && image.height > 0);
  DITMOE_ASSERT(image.channels == 1 || image.channels == 3 || image.channels == 4);
  DITMOE_ASSERT(image.pixels_HWC.size() ==
                static_cast<size_t>(image.width * image.height * image.channels));
  Writer(path).write(image);
}

}  // namespace ditmoe::formats
