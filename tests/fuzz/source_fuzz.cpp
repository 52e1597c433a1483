// What doctor makes of strangers' bytes: the kind of a file by its start, and a text as a line for people.
#include <string>

#include "dataloader/formats/utf8.h"
#include "dataloader/importers/source.h"
#include "dataloader/text/escaped.h"
#include "launch/error.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {

std::vector<std::string> seeds() {
  return {"{\"image\": 1}",
          " [1]",
          "a,b\n",
          std::string(257, 'x') + "ustar",
          "\xff\xd8\xff\xe0",
          "\x1f\x8b\x08",
          "\xe4\xba\xba \xe2\x80\xae\x1b[31m",
          "\xff\xfe"
          "a"};
}

std::vector<std::string> words() {
  return {"\xef\xbb\xbf",     "\x1b[", "\xe2\x80\x8b", "\xc2\x85", "\xed\xa0\x80",
          "\xf0\x9f\x98\x80", "\x7f",  "ustar",        "PK",       "PAR1"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  const std::string text(reinterpret_cast<const char*>(data), size);
  fuzz::require(file_kind(text) <= FileKind::kBinary, "a file has a kind");
  const std::string line = escaped(text, 100);
  check_utf8(line, "");
  for (const char c : line)
    fuzz::require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "a line has no control characters");
  fuzz::require(line.size() <= 100 * 10 + 3, "a line is short");
  return 0;
}
