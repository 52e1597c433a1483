#include "dataloader/text/penn_words.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "dataloader/text/ascii.h"

namespace muster {
namespace {

constexpr std::string_view kAlone = "?!;@#$%&*()[]{}<>\"";
constexpr std::array<std::string_view, 6> kCurly = {"\u201c", "\u201d", "\u2018", "\u2019", "\u00ab", "\u00bb"};
constexpr std::array<std::string_view, 13> kAbbreviations = {"mr", "mrs", "ms",  "dr", "st",     "jr", "sr",
                                                             "vs", "no",  "etc", "co", "approx", "inc"};
constexpr std::array<std::string_view, 6> kClitics = {"s", "m", "d", "ll", "re", "ve"};

bool is_space(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}
bool is_letter(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || static_cast<unsigned char>(c) >= 0x80;
}

class Cutter {
 public:
  explicit Cutter(std::string_view text) : text_(text) {}

  std::vector<std::vector<std::string>> cut() {
    while (at_ < text_.size()) step();
    end_word();
    end_sentence();
    return std::move(sentences_);
  }

 private:
  char ahead(size_t n = 1) const { return at_ + n < text_.size() ? text_[at_ + n] : ' '; }

  void step() {
    const char c = text_[at_];
    if (is_space(c)) {
      end_word();
      ++at_;
    } else if (const size_t curly = curly_quote(); curly > 0) {
      quote(curly);
    } else if (c == '\'') {
      quote(1);
    } else if (c == '`' || kAlone.find(c) != std::string_view::npos) {
      emit(1);
      if (c == '?' || c == '!') end_sentence_before_space();
    } else if ((c == ',' || c == ':') && !is_ascii_digit(ahead())) {
      emit(1);
    } else if (c == '-' && ahead() == '-') {
      emit(2);
    } else if (c == '.') {
      full_stop();
    } else {
      word_ += c;
      ++at_;
    }
  }

  size_t curly_quote() const {
    for (const std::string_view quote : kCurly) {
      if (text_.substr(at_, quote.size()) == quote) return quote.size();
    }
    return 0;
  }

  // An apostrophe within a word begins its clitic, or is the possessive of a plural; others are quotation marks.
  void quote(size_t size) {
    const std::string_view rest = text_.substr(at_ + size);
    size_t letters = 0;
    while (letters < rest.size() && is_letter(rest[letters])) ++letters;
    const std::string after = ascii_lower(rest.substr(0, letters));
    if (!word_.empty() && after == "t" && ascii_lower(word_.back()) == 'n' && word_.size() > 1) {
      const std::string negation = word_.substr(word_.size() - 1) + "'" + std::string(rest.substr(0, 1));
      word_.pop_back();
      end_word();
      word_ = negation;
      at_ += size + 1;
      end_word();
    } else if (!word_.empty() && std::find(kClitics.begin(), kClitics.end(), after) != kClitics.end()) {
      end_word();
      word_ = "'" + std::string(rest.substr(0, letters));
      at_ += size + letters;
      end_word();
    } else if (!word_.empty() && letters > 0) {  // o'clock
      word_ += '\'';
      at_ += size;
    } else {
      end_word();
      word_ = size == 1 ? "'" : std::string(text_.substr(at_, size));
      at_ += size;
      end_word();
    }
  }

  void full_stop() {
    if (ahead() == '.') {
      size_t stops = 2;
      while (ahead(stops) == '.') ++stops;
      emit(stops);
      return;
    }
    if (ends_sentence()) {
      emit(1);
      end_sentence();
    } else {
      word_ += '.';
      ++at_;
    }
  }

  bool ends_sentence() const {
    size_t next = at_ + 1;
    while (next < text_.size() && std::string_view("])}>\"'").find(text_[next]) != std::string_view::npos) ++next;
    const size_t word = text_.find_first_not_of(" \t\n\v\f\r", next);
    if (word == std::string_view::npos) return true;
    const bool glued = word == next;
    if (glued) {
      return word_.size() > 1 && std::islower(static_cast<unsigned char>(word_.back())) != 0 &&
             std::isupper(static_cast<unsigned char>(text_[next])) != 0;
    }
    const std::string before = ascii_lower(word_);
    const bool abbreviation = std::find(kAbbreviations.begin(), kAbbreviations.end(), before) != kAbbreviations.end();
    return !abbreviation && !(word_.size() == 1 && is_letter(word_[0]));
  }

  void end_sentence_before_space() {
    if (at_ >= text_.size() || is_space(text_[at_])) end_sentence();
  }

  void emit(size_t size) {
    end_word();
    word_ = std::string(text_.substr(at_, size));
    at_ += size;
    end_word();
  }
  void end_word() {
    if (!word_.empty()) sentence_.push_back(std::move(word_));
    word_.clear();
  }
  void end_sentence() {
    if (!sentence_.empty()) sentences_.push_back(std::move(sentence_));
    sentence_.clear();
  }

  std::string_view text_;
  size_t at_ = 0;
  std::string word_;
  std::vector<std::string> sentence_;
  std::vector<std::vector<std::string>> sentences_;
};

}  // namespace

std::vector<std::vector<std::string>> penn_words(std::string_view caption) {
  return Cutter(caption).cut();
}

}  // namespace muster
