// The rasteriser against areas known from geometry.
#include "dataloader/synth/canvas.h"

#include <gtest/gtest.h>

#include <cmath>

namespace muster::synth {
namespace {

constexpr Colour kWhite{1, 1, 1};

// Sum of all pixels of a white shape on black: its area within the canvas.
double area(Canvas& canvas) {
  double sum = 0;
  for (int y = 0; y < canvas.height(); ++y) {
    for (int x = 0; x < canvas.width(); ++x) sum += static_cast<double>(canvas.at(x, y).r);
  }
  return sum;
}

double filled(const Path& path) {
  Canvas canvas(40, 30);
  canvas.fill(path, kWhite);
  return area(canvas);
}

TEST(SynthCanvas, CoversAPixelByItsShare) {
  Canvas canvas(4, 4);
  Path path;
  path.rectangle(1.25F, 1.5F, 2.5F, 3.0F);
  canvas.fill(path, kWhite);
  EXPECT_FLOAT_EQ(canvas.at(1, 1).r, 0.375F);
  EXPECT_FLOAT_EQ(canvas.at(2, 1).r, 0.25F);
  EXPECT_FLOAT_EQ(canvas.at(1, 2).r, 0.75F);
  EXPECT_FLOAT_EQ(canvas.at(2, 2).r, 0.5F);
  EXPECT_FLOAT_EQ(canvas.at(3, 2).r, 0);
  EXPECT_FLOAT_EQ(canvas.at(0, 2).r, 0);
}

TEST(SynthCanvas, AreasOfShapes) {
  Path triangle, ellipse, capsule;
  triangle.polygon({{3.3F, 2.1F}, {31.7F, 8.4F}, {12.9F, 27.2F}});
  EXPECT_NEAR(filled(triangle), 0.5 * std::abs(28.4 * 25.1 - 9.6 * 6.3), 0.05);
  ellipse.ellipse({20.3F, 14.8F}, 11, 6, 0.7F);
  EXPECT_NEAR(filled(ellipse), M_PI * 66, 0.02 * M_PI * 66);
  capsule.stroke({8, 8}, {30, 20}, 6);
  EXPECT_NEAR(filled(capsule), M_PI * 9 + 6 * std::hypot(22, 12), 3);
}

TEST(SynthCanvas, ClipsAtEveryEdge) {
  const double pi = M_PI;
  for (const Vec2 corner : {Vec2{0, 0}, Vec2{40, 0}, Vec2{0, 30}, Vec2{40, 30}}) {
    Path disc;
    disc.ellipse(corner, 10, 10);
    EXPECT_NEAR(filled(disc), 25 * pi, 0.03 * 25 * pi) << corner.x << " " << corner.y;
  }
  Path far, around;
  far.ellipse({-50, 90}, 10, 10);
  far.ellipse({90, 10}, 10, 10);
  EXPECT_EQ(filled(far), 0);
  around.rectangle(-100, -100, 200, 200);
  EXPECT_NEAR(filled(around), 1200, 1e-3);
}

TEST(SynthCanvas, OverlappingContoursAreOneShape) {
  Path path;
  path.rectangle(2, 2, 12, 12);
  path.polygon({{7, 7}, {7, 17}, {17, 17}, {17, 7}});  // given the other way round
  EXPECT_NEAR(filled(path), 175, 1e-3);
}

TEST(SynthCanvas, LeavesNothingBehindForTheNextFill) {
  Canvas canvas(40, 30);
  Path path, small;
  path.ellipse({38, 15}, 11, 20);
  canvas.fill(path, {0, 0, 0});
  small.rectangle(5, 5, 6, 6);
  canvas.fill(small, kWhite);
  EXPECT_NEAR(area(canvas), 1, 1e-5);
}

TEST(SynthCanvas, BlurKeepsTheSum) {
  Canvas canvas(9, 9);
  canvas.at(4, 4) = kWhite;
  canvas.blur(0.25F);
  EXPECT_NEAR(area(canvas), 1, 1e-6);
  EXPECT_FLOAT_EQ(canvas.at(4, 4).r, 0.25F);
  EXPECT_FLOAT_EQ(canvas.at(3, 4).r, 0.125F);
}

}  // namespace
}  // namespace muster::synth
