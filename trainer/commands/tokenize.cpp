#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "dataloader/tokenizer.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"

namespace muster {
namespace {

struct TokenizeArguments {
  std::string tokenizer = "clip";
  std::string merges, vocabulary;
  int64_t context = 77;
};

constexpr size_t kMaxCaptionBytes = 1 << 20;

// The next line of standard input; false at its end.
bool next_caption(std::string& caption, int64_t line) {
  caption.clear();
  for (int c = std::getchar(); c != EOF; c = std::getchar()) {
    if (c == '\n') return true;
    caption += static_cast<char>(c);
    if (caption.size() > kMaxCaptionBytes) {
      throw DataError(fmt::format("standard input, line {}: longer than {} bytes; give one caption a line", line,
                                  kMaxCaptionBytes));
    }
  }
  if (std::ferror(stdin) != 0) throw DataError("standard input cannot be read");
  return !caption.empty();
}

void tokenize(const TokenizeArguments& arguments) {
  TokenizerConfig config;
  const bool pieces = arguments.tokenizer == "wordpiece";
  if (!pieces && !arguments.vocabulary.empty()) {
    throw ConfigError("--vocab is for --tokenizer wordpiece: give that, or leave it out");
  }
  if (pieces && !arguments.merges.empty()) throw ConfigError("--merges is for --tokenizer clip: leave it out");
  if (pieces) config.set_kind(TokenizerConfig::WORDPIECE);
  if (pieces) config.set_vocabulary(arguments.vocabulary);
  if (!arguments.merges.empty()) config.set_merges(arguments.merges);
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(config);
  std::vector<int64_t> ids(static_cast<size_t>(arguments.context));
  std::string caption;
  for (int64_t line_number = 1; next_caption(caption, line_number); ++line_number) {
    try {
      tokenizer->encode(caption, ids.data(), arguments.context);
    } catch (const DataError& error) {
      throw DataError(fmt::format("standard input, line {}: {}", line_number, error.what()));
    }
    fmt::print("[{}]\n", fmt::join(ids, ", "));
  }
}

}  // namespace

void add_tokenize_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand(
      "tokenize", "Print each caption of standard input as one JSON line: start token, ids, end token, zeros");
  const auto arguments = std::make_shared<TokenizeArguments>();
  command->add_option("--tokenizer", arguments->tokenizer, "clip, or wordpiece (BERT's, lower-cased)")
      ->check(CLI::IsMember({"clip", "wordpiece"}))
      ->capture_default_str();
  command->add_option("--merges", arguments->merges,
                      "CLIP's merges, plain or gzip (default: those beside the program)");
  command->add_option("--vocab", arguments->vocabulary,
                      "wordpiece: BERT's vocab.txt (default: that beside the program)");
  command->add_option("--context", arguments->context, "Ids per line")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command->callback([arguments, &process] {
    if (process.rank() == 0) tokenize(*arguments);
  });
}

}  // namespace muster
