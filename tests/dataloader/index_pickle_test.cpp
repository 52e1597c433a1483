// Pickled dicts of whole numbers, as Python writes them, and what is no such dict.
#include "dataloader/formats/index_pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "dataloader/formats/atomic_file.h"
#include "launch/error.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using Items = std::vector<std::pair<int64_t, int64_t>>;

std::string bytes(const char* text, size_t size) {
  return {text, size};
}

std::string refusal(const std::string& pickle) {
  try {
    parse_index_pickle(pickle, "a.pkl");
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

constexpr char kWrite[] = R"(
import pickle, sys
for protocol in range(6):
    for name, d in (('none', {}), ('one', {17: 1}), ('many', {37 * i * i - 300: i for i in range(2500)}),
                    ('wide', {2**31 - 1: 0, -2**31: 1, 2**31: 2, 8036608675: 3, 2**63 - 1: 4, -2**63: 5, 255: 6, 256: 7, 65535: 8,
                              65536: 9, -1: 10})):
        pickle.dump(d, open('%s/%s.%d' % (sys.argv[1], name, protocol), 'wb'), protocol)
)";

TEST(IndexPickle, EveryProtocolOfPython) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  run_reference_python(kWrite, {folder.path()});
  Items many;
  for (int64_t i = 0; i < 2500; ++i) many.emplace_back(37 * i * i - 300, i);
  const Items wide = {{INT32_MAX, 0},  {INT32_MIN, 1},   {int64_t{INT32_MAX} + 1, 2},
                      {8036608675, 3}, {INT64_MAX, 4},   {INT64_MIN, 5},
                      {255, 6},        {256, 7},         {65535, 8},
                      {65536, 9},      {int64_t{-1}, 10}};
  for (const std::string protocol : {".0", ".1", ".2", ".3", ".4", ".5"}) {
    const auto read = [&](const std::string& name) {
      return parse_index_pickle(read_file(folder / (name + protocol), 1 << 20), name);
    };
    EXPECT_THAT(read("none"), IsEmpty()) << protocol;
    EXPECT_THAT(read("one"), ElementsAre(Pair(17, 1))) << protocol;
    EXPECT_EQ(read("many"), many) << protocol;
    EXPECT_EQ(read("wide"), wide) << protocol;
  }
}

// cPickle counts its memo from 1; longs have an L.
TEST(IndexPickle, Python2) {
  EXPECT_THAT(parse_index_pickle("(dp1\nI458752\nI0\nsL8036608675L\nI1\ns.", "x"),
              ElementsAre(Pair(458752, 0), Pair(8036608675, 1)));
}

TEST(IndexPickle, NothingElseIsRead) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "byte 0 is beyond its end"},
      {"cos\nsystem\n(S'true'\ntR.", "byte 0 is opcode 0x63"},
      {bytes("\x80\2}q\0(X\1\0\0\0aK\0u.", 17), "byte 6 is opcode 0x58"},
      {bytes("\x80\2]q\0K\1a.", 9), "byte 2 is opcode 0x5d"},
      {bytes("\x80\2}(K\1K\2K\3u.", 12), "fills the dict with no items"},
      {bytes("\x80\2}K\1K\2K\3K\4s.", 13), "fills the dict with no items"},
      {bytes("\x80\2}K\1K\2u.", 9), "fills the dict with no items"},
      {bytes("\x80\2}(K\1K\2s.", 10), "fills the dict with no items"},
      {bytes("\x80\2K\1K\2s.", 8), "fills the dict with no items"},
      {bytes("\x80\2}}.", 5), "opens a second value"},
      {bytes("\x80\2K\1}.", 6), "opens a second value"},
      {bytes("\x80\2d.", 4), "closes no dict"},
      {bytes("\x80\2}((.", 6), "is a mark within items"},
      {bytes("\x80\2}K\1(.", 7), "is a mark within items"},
      {bytes("\x80\2}(.", 5), "is no end of one dict"},
      {bytes("\x80\2}K\1.", 6), "is no end of one dict"},
      {bytes("\x80\2.", 3), "is no end of one dict"},
      {bytes("\x80\2}.}", 5), "byte 4 is no end of one dict"},
      {bytes("\x80\6}.", 4), "unknown protocol"},
      {bytes("}\x80\2.", 4), "unknown protocol"},
      {"(dI1x\nI2\ns.", "is no number of 64 bits"},
      {"(dI1L\nI2\ns.", "is no number of 64 bits"},
      {"(dL9223372036854775808L\nI2\ns.", "is no number of 64 bits"},
      {"(dI\nI2\ns.", "is no number of 64 bits"},
      {bytes("}\x8a\x09\1\2\3\4\5\6\7\x8\x9K\1s.", 16), "a number of more than 64 bits"},
      {"(dI1", "is beyond its end"},
      {"(dp", "is beyond its end"},
      {bytes("}J\1\2\3", 5), "is beyond its end"},
      {bytes("\x80\4\x95\1\0\0", 6), "is beyond its end"},
  };
  for (const auto& [pickle, expected] : cases) {
    EXPECT_THAT(refusal(pickle), AllOf(HasSubstr("a.pkl: byte "), HasSubstr(expected), HasSubstr("must be a pickled")))
        << testing::PrintToString(pickle);
  }
}

TEST(IndexPickle, CutAnywhere) {
  for (const std::string& whole :
       {std::string("(dp1\nI458752\nI0\nsI5\nI1\ns."),
        bytes("\x80\4\x95\x12\0\0\0\0\0\0\0}\x94(\x8a\5\xa3\xea\4\xdf\1K\0K\x12K\1u.", 29)}) {
    EXPECT_EQ(refusal(whole), "");
    for (size_t size = 0; size < whole.size(); ++size) EXPECT_NE(refusal(whole.substr(0, size)), "") << size;
  }
}

}  // namespace
}  // namespace muster
