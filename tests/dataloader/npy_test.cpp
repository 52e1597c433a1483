// Arrays that NumPy wrote (tests/golden/regions/npy), and what is made of damaged ones.
#include "dataloader/formats/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/dataloader/sample_store.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kMost = 1 << 20;

std::string golden(const std::string& name) {
  return MUSTER_SOURCE_DIR "/tests/golden/regions/npy/" + name + ".npy";
}

// As NumPy computed them.
float value(uint64_t k) {
  return static_cast<float>((37 * k + 55) % 101) / 8;
}

TEST(Npy, ReadsWhatNumPyWrote) {
  for (const char* name : {"f2", "f4", "f8", "v2"}) {
    const NpyArray array = read_npy(golden(name), kMost);
    EXPECT_THAT(array.shape, ElementsAre(3, 4)) << name;
    ASSERT_EQ(array.values.size(), 12U);
    for (uint64_t k = 0; k < 12; ++k) EXPECT_EQ(array.values[k], value(k)) << name;
    const NpyFile file(golden(name));
    EXPECT_THAT(file.shape(), ElementsAre(3, 4));
    EXPECT_THAT(file.read(5, 3), ElementsAre(value(5), value(6), value(7))) << name;
    EXPECT_THROW(file.read(10, 3), std::out_of_range);
    EXPECT_THROW(file.read(UINT64_MAX, 2), std::out_of_range);
  }
  EXPECT_THAT(read_npy(golden("scalar"), kMost).values, ElementsAre(2.5F));
  EXPECT_THAT(read_npy(golden("flat"), kMost).shape, ElementsAre(12));
}

TEST(Npy, OtherArraysAreRefusedByName) {
  const std::pair<const char*, const char*> cases[] = {{"big", "of type >f4"},
                                                       {"int", "of type <i4"},
                                                       {"object", "of type |O"},
                                                       {"record", "of type a record"},
                                                       {"fortran", "in Fortran order"}};
  for (const auto& [name, message] : cases)
    EXPECT_THAT(error_of([name = name] { read_npy(golden(name), kMost); }), HasSubstr(message)) << name;
  EXPECT_THAT(error_of([] { read_npy(golden("f4"), 10); }), HasSubstr("f4.npy"));
}

std::string with_header(const std::string& header, const std::string& data) {
  return std::string("\x93NUMPY\1\0", 8) + static_cast<char>(header.size()) + std::string(1, '\0') + header + data;
}

TEST(Npy, DamagedHeadersAreRefused) {
  const std::string data(16, '\1');
  const auto message = [&](const std::string& header) {
    return error_of([&] { parse_npy(with_header(header, data), "x"); });
  };
  EXPECT_EQ(message("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }"), "");
  EXPECT_EQ(message("{\"shape\":(4,),\"fortran_order\":True,\"descr\":\"<f4\"}\n"), "");
  for (const char* header :
       {"", "{", "{}", "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -2)}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)} + f()",
        "{'descr': '<f4', 'fortran_order': False, 'shape': [2, 2]}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 1, 2, 2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), 'more': 1}", "{'descr: '<f4'}"}) {
    EXPECT_THAT(message(header), HasSubstr("x: its header is no array's")) << header;
  }
  for (const char* shape : {"(2, 3)", "(3,)", "()", "(0,)", "(4294967296, 4294967296)", "(20, 922337203685477581)",
                            "(999999999999999999, 64)"}) {
    EXPECT_THAT(message(std::string("{'descr': '<f4', 'fortran_order': False, 'shape': ") + shape + "}"),
                HasSubstr("other bytes than its header says"))
        << shape;
  }
  const std::string good = with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", data);
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_NE(error_of([&] { parse_npy(good.substr(0, size), "x"); }), "") << size;
  EXPECT_NE(error_of([&] { parse_npy(good + "x", "x"); }), "");
}

}  // namespace
}  // namespace muster
