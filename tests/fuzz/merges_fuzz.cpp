// The tokenizer's vocabulary. An input is the first merges; the rest of CLIP's follow, or no input would be complete.
#include <zlib.h>

#include <algorithm>
#include <array>
#include <string>

#include "dataloader/clip_bpe.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {
namespace {

constexpr size_t kFirst = 40;  // lines that an input stands for, with the heading
const std::string kPath = MUSTER_SOURCE_DIR "/.deps/clip/bpe_simple_vocab_16e6.txt.gz";

std::string read_gzip(const std::string& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  std::string text(4 << 20, '\0');
  text.resize(static_cast<size_t>(std::max(gzread(file, text.data(), static_cast<unsigned>(text.size())), 0)));
  gzclose(file);
  return text;
}

const std::string& all_merges() {
  static const std::string text = read_gzip(kPath);
  return text;
}

size_t end_of_first() {
  size_t at = 0;
  for (size_t line = 0; line < kFirst; ++line) at = all_merges().find('\n', at) + 1;
  return at;
}

}  // namespace

std::vector<std::string> seeds() {
  return {all_merges().substr(0, end_of_first())};
}

std::vector<std::string> words() {
  return {"\n",   "\r\n",         " ",     "</w>",  "a b\n",   "\xc4\xa0", "\xc3\xbf",
          "\xff", "\xe4\xba\xba", "< /\n", "i n\n", "#version"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  const std::string first(reinterpret_cast<const char*>(data), size);
  const fuzz::MemoryFile file(first + fuzz::all_merges().substr(fuzz::end_of_first()));
  fuzz::allow_refusal([&] {
    const ClipBpe tokenizer(file.path());
    std::array<int64_t, 20> ids{};
    tokenizer.encode("A man in the red coat, \xe4\xba\xba.", ids.data(), ids.size());
    for (const int64_t id : ids) fuzz::require(id >= 0 && id < tokenizer.vocabulary(), "an id is in the vocabulary");
    tokenizer.decode(ids.data(), ids.size());
  });
  return 0;
}
