#include "dataloader/clip_bpe.h"

#include <algorithm>
#include <stdexcept>

#include "dataloader/data_files.h"
#include "dataloader/text/html_entities.h"
#include "dataloader/text/text_repair.h"
#include "dataloader/text/unicode.h"
#include "dataloader/text/words.h"

namespace muster {
namespace {

// Text that no repair changes: printable ASCII and white space, no references.
bool is_plain(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 0x20 && c < 0x7F && c != '&') || c == '\t' || c == '\n' || c == '\f' || c == '\r';
  });
}

std::string clean_plain(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  return out;
}

// White space need not be joined here: it only separates words, whatever it is.
std::string clean(std::string_view caption) {
  CodePoints text = unescape_html(unescape_html(repair_text(decode_utf8(caption))));
  std::replace_if(text.begin(), text.end(), is_python_space, U' ');
  return encode_utf8(lower(text));
}

}  // namespace

void ClipBpe::encode(std::string_view caption, int64_t* ids, int64_t context) const {
  if (context < 2) throw std::logic_error("ClipBpe::encode: a context below 2 cannot hold the start and end tokens");
  const std::string text = is_plain(caption) ? clean_plain(caption) : clean(caption);
  const size_t room = static_cast<size_t>(context) - 2;
  BytePairs::Workspace workspace;
  std::vector<int64_t> found;
  WordScanner words(text);
  for (std::string_view word = words.next(); !word.empty() && found.size() < room; word = words.next()) {
    if (word == kStartOfText) {
      found.push_back(BytePairs::kStart);
    } else if (word == kEndOfText) {
      found.push_back(BytePairs::kEnd);
    } else {
      byte_pairs_.encode(word, workspace, found);
    }
  }
  const size_t kept = std::min(found.size(), room);
  ids[0] = BytePairs::kStart;
  std::copy_n(found.begin(), kept, ids + 1);
  ids[kept + 1] = BytePairs::kEnd;
  std::fill(ids + kept + 2, ids + context, 0);
}

std::string ClipBpe::decode(const int64_t* ids, int64_t context) const {
  std::string text;
  for (int64_t i = 0; i < context && ids[i] != BytePairs::kEnd; ++i) {
    if (ids[i] == BytePairs::kStart) continue;
    text += ids[i] == kMask ? "[MASK] " : byte_pairs_.bytes_of(ids[i]);
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

std::string default_merges_path() {
  return default_data_file("bpe_simple_vocab_16e6.txt.gz");
}

}  // namespace muster
