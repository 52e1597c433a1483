#include "dataloader/text_transform.h"

#include <algorithm>
#include <vector>

#include "dataloader/random.h"

namespace muster {
namespace {

constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";

std::vector<std::string_view> cut_words(std::string_view caption) {
  std::vector<std::string_view> words;
  for (size_t begin = caption.find_first_not_of(kWhiteSpace); begin != std::string_view::npos;) {
    const size_t end = std::min(caption.find_first_of(kWhiteSpace, begin), caption.size());
    words.push_back(caption.substr(begin, end - begin));
    begin = caption.find_first_not_of(kWhiteSpace, end);
  }
  return words;
}

}  // namespace

void TextTransform::encode(std::string_view caption, uint64_t seed, uint64_t position, int64_t* ids,
                           int64_t context) const {
  if (config_.delete_words() > 0) {
    tokenizer_.encode(delete_words(caption, seed, position), ids, context);
  } else {
    tokenizer_.encode(caption, ids, context);
  }
  if (config_.mask_tokens() > 0 || config_.mask_one()) mask_tokens(seed, position, ids, context);
}

std::string TextTransform::delete_words(std::string_view caption, uint64_t seed, uint64_t position) const {
  const std::vector<std::string_view> words = cut_words(caption);
  if (words.size() < 2) return std::string(caption);
  KeyedRandom random(seed, position, Purpose::kWordDeletion);
  std::string kept;
  for (const std::string_view word : words) {
    if (random.next_double() < config_.delete_words()) continue;
    if (!kept.empty()) kept += ' ';
    kept += word;
  }
  return kept.empty() ? std::string(words[random.next_below(words.size())]) : kept;
}

void TextTransform::mask_tokens(uint64_t seed, uint64_t position, int64_t* ids, int64_t context) const {
  const Tokenizer::Ordinary ordinary = tokenizer_.ordinary();
  const auto is_ordinary = [&](int64_t id) { return id >= ordinary.first && id < ordinary.end; };
  KeyedRandom random(seed, position, Purpose::kTokenMask);
  int64_t* first = std::find_if(ids, ids + context, is_ordinary);
  bool any_hit = false;
  int64_t* out = ids;
  for (int64_t* id = ids; id != ids + context; ++id) {
    const int64_t token = *id;
    *out++ = token;
    if (!is_ordinary(token) || random.next_double() >= config_.mask_tokens()) continue;
    any_hit = true;
    const double fate = random.next_double();
    const auto other = static_cast<int64_t>(random.next_below(static_cast<uint64_t>(ordinary.end - ordinary.first)));
    if (fate < config_.mask_share()) {
      out[-1] = ordinary.mask;
    } else if (fate < config_.mask_share() + config_.random_share()) {
      out[-1] = ordinary.first + other;
    } else if (fate < config_.mask_share() + config_.random_share() + config_.delete_share()) {
      --out;
    }
  }
  std::fill(out, ids + context, 0);
  if (!any_hit && config_.mask_one() && first != ids + context) *first = ordinary.mask;
}

}  // namespace muster
