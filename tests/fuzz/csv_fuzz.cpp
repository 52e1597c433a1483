// Tables. The first byte chooses the delimiter, and whether quotes count.
#include <string>

#include "dataloader/importers/csv.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {

std::vector<std::string> seeds() {
  return {
      std::string("\0image,caption,identity,split\n1.jpg,a man,7,train\n1.jpg,\"a \"\"tall\"\"\nman\",7,train\n", 77),
      "\1filepath\ttitle\n1.jpg\ta, b\n2.jpg\t\r\n", "\2path;text\n\n1.jpg;\"c;d\"\n",
      "\4\xef\xbb\xbfimage\tcaption\n1.jpg\t\"not a quote\n"};
}

std::vector<std::string> words() {
  return {"\"",      "\"\"",         "\",\"",    "\n",       "\r\n",  ",",           "\t",
          ";",       "image",        "caption",  "identity", "split", "\nval",       "1.jpg",
          "./1.jpg", "\xef\xbb\xbf", "\xff\xfe", "\xc3",     " ",     "\xe2\x80\x8b"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  if (size == 0) return 0;
  const fuzz::MemoryFile file(std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  CsvOptions options;
  constexpr char kDelimiters[] = {0, '\t', ';', ','};
  options.delimiter = kDelimiters[data[0] % 4];
  options.quoted = (data[0] & 4U) == 0;
  fuzz::allow_refusal([&] {
    for (const ImportRow& row : read_csv(file.path(), options, {"/", Split::kTrain}).rows) {
      fuzz::require(!row.refusal.empty() || !row.image.empty(), "a row that is taken names an image");
      for (const std::string& caption : row.captions)
        fuzz::require(caption_refusal(caption).empty(), "a caption that is taken shows something");
    }
  });
  return 0;
}
