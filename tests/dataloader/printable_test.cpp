#include "dataloader/text/printable.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

TEST(Printable, ControlCharactersAreReplaced) {
  EXPECT_EQ(printable("caf\u00e9 \"<b>\""), "caf\u00e9 \"<b>\"");
  EXPECT_EQ(printable("a\nb\r\t\x1b[31m\x7f"), "a\ufffdb\ufffd\ufffd\ufffd[31m\ufffd");
  EXPECT_EQ(printable("\u0085\u009b1m\u00a0"), "\ufffd\ufffd1m\u00a0");  // the upper ones, and what follows them
  EXPECT_EQ(printable_lines("a\nb\r\n\x1b"), "a\nb\ufffd\n\ufffd");
}

}  // namespace
}  // namespace muster
