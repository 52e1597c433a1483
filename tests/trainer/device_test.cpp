// The choice of a device in a program without CUDA, which this is whatever the build.
#include "trainer/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/error.h"
#include "tests/support/test_process.h"

namespace muster {
namespace {

TEST(Device, IsTheCpuWhereThereIsNoCuda) {
  EXPECT_EQ(choose_device(TrainConfig::CPU, test_process()), at::Device(at::kCPU));
  EXPECT_EQ(choose_device(TrainConfig::AUTO, test_process()), at::Device(at::kCPU));
}

TEST(Device, ThatIsNotThereIsRefused) {
  try {
    choose_device(TrainConfig::CUDA, test_process());
    FAIL() << "accepted";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "train.device is CUDA, but this muster is built without CUDA; set it to CPU or AUTO, or build with "
                 "cmake --preset cuda and start where a GPU is");
  }
}

}  // namespace
}  // namespace muster
