#include "dataloader/synth/canvas.h"

#include <array>
#include <cstddef>

namespace muster::synth {
namespace {

// Enough corners that a disc of this radius looks round: the flattening error stays below 1/10 pixel.
int corners(float radius) {
  return std::clamp(static_cast<int>(std::sqrt(std::max(radius, 0.0F)) * 7.0F), 8, 64);
}

float signed_area(const std::vector<Vec2>& points, size_t first) {
  float area = 0;
  for (size_t i = first; i < points.size(); ++i) {
    const Vec2 a = points[i];
    const Vec2 b = points[i + 1 < points.size() ? i + 1 : first];
    area += a.x * b.y - b.x * a.y;
  }
  return area;
}

}  // namespace

void Path::close(size_t first) {
  if (signed_area(points_, first) < 0)
    std::reverse(points_.begin() + static_cast<std::ptrdiff_t>(first), points_.end());
  ends_.push_back(static_cast<int>(points_.size()));
}

void Path::polygon(const std::vector<Vec2>& points) {
  const size_t first = points_.size();
  points_.insert(points_.end(), points.begin(), points.end());
  close(first);
}

void Path::smooth(std::vector<Vec2> points, int rounds) {
  std::vector<Vec2> finer;
  for (int round = 0; round < rounds; ++round) {
    finer.clear();
    for (size_t i = 0; i < points.size(); ++i) {
      const Vec2 a = points[i];
      const Vec2 b = points[i + 1 < points.size() ? i + 1 : 0];
      finer.push_back(mix(a, b, 0.25F));
      finer.push_back(mix(a, b, 0.75F));
    }
    points.swap(finer);
  }
  polygon(points);
}

void Path::ellipse(Vec2 centre, float rx, float ry, float angle) {
  const size_t first = points_.size();
  const int n = corners(std::max(rx, ry));
  const float c = std::cos(angle), s = std::sin(angle);
  for (int i = 0; i < n; ++i) {
    const float t = 2 * kPi * static_cast<float>(i) / static_cast<float>(n);
    const float x = rx * std::cos(t), y = ry * std::sin(t);
    points_.push_back({centre.x + c * x - s * y, centre.y + s * x + c * y});
  }
  close(first);
}

void Path::rectangle(float left, float top, float right, float bottom) {
  polygon({{left, top}, {right, top}, {right, bottom}, {left, bottom}});
}

void Path::box(Vec2 centre, float half_width, float half_height, float angle, float roundness) {
  const float cut = std::min(half_width, half_height) * roundness;
  const float c = std::cos(angle), s = std::sin(angle);
  const std::array<Vec2, 8> outline = {{{-half_width + cut, -half_height},
                                        {half_width - cut, -half_height},
                                        {half_width, -half_height + cut},
                                        {half_width, half_height - cut},
                                        {half_width - cut, half_height},
                                        {-half_width + cut, half_height},
                                        {-half_width, half_height - cut},
                                        {-half_width, -half_height + cut}}};
  std::vector<Vec2> turned;
  for (const Vec2 p : outline) turned.push_back({centre.x + c * p.x - s * p.y, centre.y + s * p.x + c * p.y});
  smooth(turned, 1);
}

void Path::capsule(Vec2 a, float radius_a, Vec2 b, float radius_b) {
  const size_t first = points_.size();
  const Vec2 axis = b - a;
  const float along = std::atan2(axis.y, axis.x);
  const float gap = length(axis);
  // The tangent points lie off the perpendicular when the radii differ.
  const float lean = gap > 1e-6F ? std::asin(std::clamp((radius_a - radius_b) / gap, -1.0F, 1.0F)) : 0.0F;
  const int n = std::max(corners(std::max(radius_a, radius_b)) / 2, 4);
  for (int i = 0; i <= n; ++i) {
    const float t = along + (kPi / 2 - lean) + (kPi + 2 * lean) * static_cast<float>(i) / static_cast<float>(n);
    points_.push_back({a.x + radius_a * std::cos(t), a.y + radius_a * std::sin(t)});
  }
  for (int i = 0; i <= n; ++i) {
    const float t = along - (kPi / 2 - lean) + (kPi - 2 * lean) * static_cast<float>(i) / static_cast<float>(n);
    points_.push_back({b.x + radius_b * std::cos(t), b.y + radius_b * std::sin(t)});
  }
  close(first);
}

Canvas::Canvas(int width, int height)
    : width_(width),
      height_(height),
      pixels_(static_cast<size_t>(width) * static_cast<size_t>(height)),
      coverage_(static_cast<size_t>(width + 2) * static_cast<size_t>(height)) {}

// One row at a time: the part of the edge within the row covers a trapezoid of the pixels right of it. A pixel gets the
// DIFFERENCE to its left neighbour, so that a running sum along the row is the coverage.
void Canvas::accumulate_edge(Vec2 a, Vec2 b) {
  if (a.y == b.y) return;
  const float direction = a.y < b.y ? 1.0F : -1.0F;
  if (a.y > b.y) std::swap(a, b);
  const float slope = (b.x - a.x) / (b.y - a.y);
  const int top = std::max(static_cast<int>(std::floor(a.y)), 0);
  const int bottom = std::min(static_cast<int>(std::ceil(b.y)), height_);
  const float right = static_cast<float>(width_);
  for (int y = top; y < bottom; ++y) {
    const float y0 = std::max(a.y, static_cast<float>(y));
    const float y1 = std::min(b.y, static_cast<float>(y + 1));
    const float d = (y1 - y0) * direction;
    float x0 = std::clamp(a.x + (y0 - a.y) * slope, 0.0F, right);
    float x1 = std::clamp(a.x + (y1 - a.y) * slope, 0.0F, right);
    if (x0 > x1) std::swap(x0, x1);
    float* row = coverage_.data() + static_cast<size_t>(y) * static_cast<size_t>(width_ + 2);
    const int first = static_cast<int>(x0);
    const int last = static_cast<int>(x1);
    if (first == last) {
      const float covered = 1.0F - (0.5F * (x0 + x1) - static_cast<float>(first));
      row[first] += d * covered;
      row[first + 1] += d * (1.0F - covered);
      continue;
    }
    const float per_x = d / (x1 - x0);
    float before = 0;  // area of the shape in the pixels up to x, as a running sum's previous value
    for (int x = first; x <= last; ++x) {
      const float from = std::max(x0, static_cast<float>(x)), to = std::min(x1, static_cast<float>(x + 1));
      const float entered = per_x * (from - x0);
      const float within = per_x * (to - from);
      const float covered = entered + within * (1.0F - (0.5F * (from + to) - static_cast<float>(x)));
      row[x] += covered - before;
      before = covered;
    }
    row[last + 1] += d - before;
  }
}

Canvas::Box Canvas::accumulate(const Path& path) {
  const std::vector<Vec2>& points = path.points();
  if (points.empty()) return {0, 0, 0, 0};
  Vec2 low = points[0], high = points[0];
  for (const Vec2 p : points) {
    low = {std::min(low.x, p.x), std::min(low.y, p.y)};
    high = {std::max(high.x, p.x), std::max(high.y, p.y)};
  }
  const auto pixel = [](float v, int limit) {
    return static_cast<int>(std::clamp(v, 0.0F, static_cast<float>(limit)));
  };
  const Box box{pixel(std::floor(low.x), width_), pixel(std::floor(low.y), height_),
                pixel(std::ceil(high.x) + 1, width_), pixel(std::ceil(high.y), height_)};
  if (box.left >= box.right || box.top >= box.bottom) return {0, 0, 0, 0};
  size_t first = 0;
  for (const int end : path.ends()) {
    const size_t last = static_cast<size_t>(end);
    for (size_t i = first; i < last; ++i) accumulate_edge(points[i], points[i + 1 < last ? i + 1 : first]);
    first = last;
  }
  return box;
}

void Canvas::clear_coverage(const Box& box) {
  for (int y = box.top; y < box.bottom; ++y) {
    float* row = coverage_.data() + static_cast<size_t>(y) * static_cast<size_t>(width_ + 2);
    std::fill(row + box.left, row + std::min(box.right, width_) + 2, 0.0F);
  }
}

void Canvas::soft_ellipse(Vec2 centre, float rx, float ry, Colour colour, float opacity) {
  const int top = std::max(static_cast<int>(centre.y - ry), 0),
            bottom = std::min(static_cast<int>(centre.y + ry) + 1, height_);
  const int left = std::max(static_cast<int>(centre.x - rx), 0),
            right = std::min(static_cast<int>(centre.x + rx) + 1, width_);
  for (int y = top; y < bottom; ++y) {
    for (int x = left; x < right; ++x) {
      const float u = (static_cast<float>(x) + 0.5F - centre.x) / rx,
                  v = (static_cast<float>(y) + 0.5F - centre.y) / ry;
      const float inside = std::max(1 - u * u - v * v, 0.0F);
      at(x, y) = mix(at(x, y), colour, opacity * inside * (2 - inside));
    }
  }
}

void Canvas::blur(float k) {
  if (k <= 0) return;
  const float centre = 1 - 2 * k;
  scratch_.resize(pixels_.size());
  const size_t stride = static_cast<size_t>(width_);
  for (int y = 0; y < height_; ++y) {
    const Colour* in = row(y);
    Colour* out = scratch_.data() + static_cast<size_t>(y) * stride;
    for (int x = 0; x < width_; ++x) {
      out[x] = in[x] * centre + (in[std::max(x - 1, 0)] + in[std::min(x + 1, width_ - 1)]) * k;
    }
  }
  for (int y = 0; y < height_; ++y) {
    const Colour* in = scratch_.data() + static_cast<size_t>(y) * stride;
    const Colour* above = y > 0 ? in - stride : in;
    const Colour* below = y + 1 < height_ ? in + stride : in;
    Colour* out = row(y);
    for (int x = 0; x < width_; ++x) out[x] = in[x] * centre + (above[x] + below[x]) * k;
  }
}

}  // namespace muster::synth
