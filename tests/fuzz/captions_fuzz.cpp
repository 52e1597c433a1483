// Captions to CLIP's ids, and back.
#include <array>
#include <string>

#include "dataloader/clip_bpe.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {

std::vector<std::string> seeds() {
  return {"A man in a red coat, walking.", "It&#39;s &amp;amp; &lt;b&gt; \xe2\x80\x9cquoted\xe2\x80\x9d",
          "\xef\xbc\xa1\xef\xbc\xa2 \xe4\xba\xba\xe3\x81\x82 \xf0\x9f\x98\x80\xe2\x80\x8d\xf0\x9f\x91\xa9",
          "\xc3\x83\xc2\xa9t\xc3\x83\xc2\xa9 1,234.5"};
}

std::vector<std::string> words() {
  return {"&",        ";",        "&#", "&#x",           "&amp;",        "&#x110000;", "\xcc\x81", "\xe2\x80\x8d",
          "\xcf\x83", "\xc4\xb0", "'s", "<|endoftext|>", "\xed\xa0\x80", "\x1b[0m",    "\r\n",     "\xef\xac\x81"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  static const ClipBpe tokenizer(MUSTER_SOURCE_DIR "/.deps/clip/bpe_simple_vocab_16e6.txt.gz");
  constexpr int64_t kContext = 77;
  std::array<int64_t, kContext> ids{};
  fuzz::allow_refusal([&] {
    tokenizer.encode(std::string(reinterpret_cast<const char*>(data), size), ids.data(), kContext);
    for (const int64_t id : ids) fuzz::require(id >= 0 && id < tokenizer.vocabulary(), "an id is in the vocabulary");
    tokenizer.decode(ids.data(), kContext);
  });
  return 0;
}
