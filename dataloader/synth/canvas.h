// A small anti-aliased rasteriser: paths of straight edges, filled with exact area coverage by any paint.
//
// Coordinates are pixels, x to the right, y down; the pixel (0, 0) covers [0, 1) x [0, 1).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace muster::synth {

constexpr float kPi = 3.14159265F;

struct Vec2 {
  float x = 0, y = 0;
};
inline Vec2 operator+(Vec2 a, Vec2 b) {
  return {a.x + b.x, a.y + b.y};
}
inline Vec2 operator-(Vec2 a, Vec2 b) {
  return {a.x - b.x, a.y - b.y};
}
inline Vec2 operator*(Vec2 a, float k) {
  return {a.x * k, a.y * k};
}
inline Vec2 mix(Vec2 a, Vec2 b, float t) {
  return a + (b - a) * t;
}
inline float length(Vec2 a) {
  return std::sqrt(a.x * a.x + a.y * a.y);
}

// Display-referred red, green, blue; 0 is black, 1 is full. May leave the range until it is written out.
struct Colour {
  float r = 0, g = 0, b = 0;
};
inline Colour operator*(Colour c, float k) {
  return {c.r * k, c.g * k, c.b * k};
}
inline Colour operator+(Colour a, Colour b) {
  return {a.r + b.r, a.g + b.g, a.b + b.b};
}
inline Colour mix(Colour a, Colour b, float t) {
  return {a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}

// One or more closed contours; where contours of the same direction overlap, they are one shape.
class Path {
 public:
  void polygon(const std::vector<Vec2>& points);
  // Rounds the corners of the polygon off (Chaikin's corner cutting).
  void smooth(std::vector<Vec2> points, int rounds = 2);
  void ellipse(Vec2 centre, float rx, float ry, float angle = 0);
  void rectangle(float left, float top, float right, float bottom);
  // Centre, half sizes, tilt, and the share of the half size that is rounded off (0..1).
  void box(Vec2 centre, float half_width, float half_height, float angle, float roundness);
  // Two discs and all between them.
  void capsule(Vec2 a, float radius_a, Vec2 b, float radius_b);
  // A line of constant width with round ends.
  void stroke(Vec2 a, Vec2 b, float width) { capsule(a, width / 2, b, width / 2); }

  const std::vector<Vec2>& points() const { return points_; }
  const std::vector<int>& ends() const { return ends_; }  // one past the last point of each contour

 private:
  void close(size_t first);
  std::vector<Vec2> points_;
  std::vector<int> ends_;
};

class Canvas {
 public:
  Canvas(int width, int height);

  int width() const { return width_; }
  int height() const { return height_; }
  Colour& at(int x, int y) {
    return pixels_[static_cast<size_t>(y) * static_cast<size_t>(width_) + static_cast<size_t>(x)];
  }
  Colour* row(int y) { return pixels_.data() + static_cast<size_t>(y) * static_cast<size_t>(width_); }

  // Fills the path; `paint` maps a pixel's centre (Vec2) to a Colour.
  template <class Paint>
  void fill(const Path& path, const Paint& paint, float opacity = 1.0F);
  void fill(const Path& path, Colour colour, float opacity = 1.0F) {
    fill(
        path, [colour](Vec2) { return colour; }, opacity);
  }
  // Every pixel: `change` maps (pixel's centre, colour) to a Colour.
  template <class Change>
  void map(const Change& change);

  // A blob that darkens (or lights) what is under it, softest at its rim.
  void soft_ellipse(Vec2 centre, float rx, float ry, Colour colour, float opacity);

  // Convolution with [k, 1 - 2k, k] in both directions; k in [0, 1/3].
  void blur(float k);

 private:
  struct Box {
    int left, top, right, bottom;
  };
  // Adds the path's signed area to coverage_ as differences along each row.
  Box accumulate(const Path& path);
  void accumulate_edge(Vec2 a, Vec2 b);
  void clear_coverage(const Box& box);

  int width_, height_;
  std::vector<Colour> pixels_;
  std::vector<float> coverage_;  // rows of width + 2
  std::vector<Colour> scratch_;
};

template <class Paint>
void Canvas::fill(const Path& path, const Paint& paint, float opacity) {
  const Box box = accumulate(path);
  for (int y = box.top; y < box.bottom; ++y) {
    float* coverage = coverage_.data() + static_cast<size_t>(y) * static_cast<size_t>(width_ + 2);
    Colour* pixels = row(y);
    float sum = 0;
    for (int x = box.left; x < box.right; ++x) {
      sum += coverage[x];
      const float share = std::min(std::abs(sum), 1.0F);
      if (share < 0.004F) continue;
      const Vec2 centre{static_cast<float>(x) + 0.5F, static_cast<float>(y) + 0.5F};
      pixels[x] = mix(pixels[x], paint(centre), share * opacity);
    }
  }
  clear_coverage(box);
}

template <class Change>
void Canvas::map(const Change& change) {
  for (int y = 0; y < height_; ++y) {
    Colour* pixels = row(y);
    for (int x = 0; x < width_; ++x) {
      pixels[x] = change(Vec2{static_cast<float>(x) + 0.5F, static_cast<float>(y) + 0.5F}, pixels[x]);
    }
  }
}

}  // namespace muster::synth
