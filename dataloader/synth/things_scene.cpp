#include "dataloader/synth/things_scene.h"

#include <c10/util/Half.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "dataloader/image.h"
#include "dataloader/random.h"
#include "dataloader/store_manifest.h"
#include "dataloader/synth/dice.h"
#include "launch/error.h"

namespace muster::synth {
namespace {

constexpr int kLeastThings = 3, kMostThings = 6;
constexpr int kLeastRegions = 10, kMostRegions = 36;
constexpr int kQuality = 90;

constexpr std::array<Dye, 9> kDyesOfThings = {Dye::kRed,    Dye::kOrange, Dye::kYellow, Dye::kGreen, Dye::kBlue,
                                              Dye::kPurple, Dye::kPink,   Dye::kBlack,  Dye::kWhite};

// Numbers of the codes; those of colours and sizes follow the shapes'.
constexpr int kFirstColour = kShapes, kFirstSize = kFirstColour + 9, kGround = kFirstSize + 2;

std::vector<float> code_of(int number, int64_t width) {
  KeyedRandom random(0, static_cast<uint64_t>(number), static_cast<uint32_t>(Stream::kRegionCode));
  std::vector<float> code(static_cast<size_t>(width));
  for (float& value : code) value = static_cast<float>(random.next_normal());
  return code;
}

bool apart(const Thing& a, const Thing& b) {
  const float reach = a.radius + b.radius;
  return std::abs(a.centre.x - b.centre.x) > reach || std::abs(a.centre.y - b.centre.y) > reach;
}

std::vector<Vec2> corners(Vec2 centre, float radius, int count, float inner, float turn) {
  std::vector<Vec2> points;
  for (int i = 0; i < count; ++i) {
    const float angle = turn + 2 * kPi * static_cast<float>(i) / static_cast<float>(count);
    const float r = i % 2 == 0 ? radius : radius * inner;
    points.push_back({centre.x + r * std::sin(angle), centre.y - r * std::cos(angle)});
  }
  return points;
}

Path outline(const Thing& thing) {
  Path path;
  const Vec2 c = thing.centre;
  const float r = thing.radius, third = r / 3;
  switch (thing.shape) {
    case Shape::kBall:
      path.ellipse(c, r, r);
      break;
    case Shape::kBox:
      path.rectangle(c.x - r, c.y - r, c.x + r, c.y + r);
      break;
    case Shape::kTriangle:
      path.polygon({{c.x, c.y - r}, {c.x + r, c.y + r}, {c.x - r, c.y + r}});
      break;
    case Shape::kStar:
      path.polygon(corners(c, r, 10, 0.42F, 0));
      break;
    case Shape::kRing: {
      const std::vector<Vec2> circle = corners(c, r * 0.8F, 48, 1, 0);
      for (size_t i = 0; i < circle.size(); ++i) path.stroke(circle[i], circle[(i + 1) % circle.size()], r * 0.4F);
      break;
    }
    case Shape::kCross:
      path.polygon({{c.x - third, c.y - r},
                    {c.x + third, c.y - r},
                    {c.x + third, c.y - third},
                    {c.x + r, c.y - third},
                    {c.x + r, c.y + third},
                    {c.x + third, c.y + third},
                    {c.x + third, c.y + r},
                    {c.x - third, c.y + r},
                    {c.x - third, c.y + third},
                    {c.x - r, c.y + third},
                    {c.x - r, c.y - third},
                    {c.x - third, c.y - third}});
      break;
    case Shape::kDiamond:
      path.polygon(corners(c, r, 4, 1, 0));
      break;
  }
  return path;
}

Image paint(const ThingsScene& scene, int width, int height) {
  Canvas canvas(width, height);
  const Colour sky = mix(Colour{0.62F, 0.74F, 0.84F}, Colour{0.82F, 0.80F, 0.74F}, scene.ground);
  const Colour floor = mix(Colour{0.50F, 0.56F, 0.44F}, Colour{0.64F, 0.57F, 0.48F}, scene.ground);
  const float horizon = scene.horizon * static_cast<float>(height);
  canvas.map([&](Vec2 at, Colour) { return at.y < horizon ? sky : floor; });
  for (const Thing& thing : scene.things) {
    const Colour colour = shade_of(kDyesOfThings[static_cast<size_t>(thing.colour)]);
    canvas.soft_ellipse({thing.centre.x, thing.centre.y + thing.radius}, thing.radius, thing.radius * 0.25F, {}, 0.3F);
    canvas.fill(outline(thing), [&](Vec2 at) {
      const float light = 1.08F - 0.16F * (at.y - thing.centre.y + thing.radius) / (2 * thing.radius);
      return colour * light;
    });
  }
  Image image = allocate_image(width, height, "a scene");
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const Colour c = canvas.at(x, y);
      uint8_t* pixel =
          image.pixels.data() + 3 * (static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x));
      for (const float value : {c.r, c.g, c.b})
        *pixel++ = static_cast<uint8_t>(std::lround(std::clamp(value, 0.0F, 1.0F) * 255));
    }
  }
  return image;
}

std::string name_of(const Thing& thing, bool with_size, bool first) {
  const std::string& colour = thing_colours()[static_cast<size_t>(thing.colour)];
  const std::string& shape = thing_shapes()[static_cast<size_t>(thing.shape)];
  const std::string words = with_size ? fmt::format("{} {} {}", thing.large ? "large" : "small", colour, shape)
                                      : fmt::format("{} {}", colour, shape);
  const char* article = words[0] == 'o' ? (first ? "An" : "an") : (first ? "A" : "a");
  return fmt::format("{} {}", article, words);
}

// Where a is, seen from b; along the direction in which they are farther apart.
const char* relation(const Thing& a, const Thing& b) {
  const Vec2 d = a.centre - b.centre;
  if (std::abs(d.x) >= std::abs(d.y)) return d.x < 0 ? "to the left of" : "to the right of";
  return d.y < 0 ? "above" : "below";
}

std::string write_relation(Dice& dice, const ThingsScene& scene) {
  const int count = static_cast<int>(scene.things.size());
  const int a = dice.below(count), b = (a + 1 + dice.below(count - 1)) % count;
  const Thing& one = scene.things[static_cast<size_t>(a)];
  const Thing& other = scene.things[static_cast<size_t>(b)];
  const bool sizes = dice.chance(0.5F);
  if (dice.chance(0.5F)) {
    return fmt::format("{} is {} {}.", name_of(one, sizes, true), relation(one, other), name_of(other, !sizes, false));
  }
  return fmt::format("There is {} {} {}.", name_of(one, sizes, false), relation(one, other),
                     name_of(other, sizes, false));
}

std::string write_list(Dice& dice, const ThingsScene& scene) {
  const size_t count = scene.things.size(), first = static_cast<size_t>(dice.below(static_cast<int>(count)));
  std::string text = name_of(scene.things[first], dice.chance(0.5F), true);
  for (size_t i = 1; i < kLeastThings; ++i) {
    text += i + 1 == kLeastThings ? " and " : ", ";
    text += name_of(scene.things[(first + i) % count], dice.chance(0.5F), false);
  }
  return text + ".";
}

class Detector {
 public:
  Detector(const Options& options, int64_t number, int64_t width)
      : width_(width),
        right_(static_cast<float>(options.width)),
        bottom_(static_cast<float>(options.height)),
        dice_(options.seed, static_cast<uint64_t>(number), Stream::kRegions),
        noise_(options.seed, static_cast<uint64_t>(number), static_cast<uint32_t>(Stream::kRegionNoise)) {}

  ImageRegions find(const ThingsScene& scene) {
    const int total = kLeastRegions + dice_.below(kMostRegions - kLeastRegions + 1);
    std::vector<int> of_region;  // a thing's number; -1: the ground
    for (size_t i = 0; i < scene.things.size(); ++i) of_region.push_back(static_cast<int>(i));
    for (size_t i = 0; i < scene.things.size(); ++i) {
      for (int more = dice_.below(3); more > 0 && static_cast<int>(of_region.size()) < total; --more)
        of_region.push_back(static_cast<int>(i));
    }
    of_region.resize(static_cast<size_t>(total), -1);
    for (size_t i = of_region.size() - 1; i > 0; --i)
      std::swap(of_region[i], of_region[static_cast<size_t>(dice_.below(static_cast<int>(i) + 1))]);
    for (const int thing : of_region) thing < 0 ? add_ground() : add(scene.things[static_cast<size_t>(thing)]);
    return std::move(regions_);
  }

 private:
  void add(const Thing& thing) {
    const float slack = thing.radius * 0.12F;
    const auto off = [&] { return dice_.uniform(-slack, slack); };
    const float x1 = thing.centre.x - thing.radius + off(), y1 = thing.centre.y - thing.radius + off();
    add_box(x1, y1, thing.centre.x + thing.radius + off(), thing.centre.y + thing.radius + off());
    add_features({static_cast<int>(thing.shape), kFirstColour + thing.colour, kFirstSize + (thing.large ? 1 : 0)});
  }

  void add_ground() {
    const float w = dice_.uniform(0.08F, 0.6F) * right_, h = dice_.uniform(0.08F, 0.6F) * bottom_;
    const float x1 = dice_.uniform(0, right_ - w), y1 = dice_.uniform(0, bottom_ - h);
    add_box(x1, y1, x1 + w, y1 + h);
    add_features({kGround});
  }

  void add_box(float x1, float y1, float x2, float y2) {
    for (const float value : {std::max(x1, 0.0F), std::max(y1, 0.0F), std::min(x2, right_), std::min(y2, bottom_)})
      regions_.boxes.push_back(value);
  }

  void add_features(std::initializer_list<int> codes) {
    std::vector<float> sum(static_cast<size_t>(width_));
    for (const int code : codes) {
      const std::vector<float> values = code_of(code, width_);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += values[i];
    }
    const float scale = 1 / std::sqrt(static_cast<float>(codes.size()));
    for (const float value : sum) {
      const float noisy = value * scale + kNoise * static_cast<float>(noise_.next_normal());
      regions_.features.push_back(c10::Half(noisy).x);
    }
  }

  int64_t width_;
  float right_, bottom_;
  Dice dice_;
  KeyedRandom noise_;
  ImageRegions regions_;
};

}  // namespace

const std::vector<std::string>& thing_colours() {
  static const std::vector<std::string> words = {"red",    "orange", "yellow", "green", "blue",
                                                 "purple", "pink",   "black",  "white"};
  return words;
}

const std::vector<std::string>& thing_shapes() {
  static const std::vector<std::string> words = {"ball", "box", "triangle", "star", "ring", "cross", "diamond"};
  return words;
}

ThingsScene make_scene(const Options& options, int64_t number) {
  Dice dice(options.seed, static_cast<uint64_t>(number), Stream::kThings);
  const auto width = static_cast<float>(options.width), height = static_cast<float>(options.height);
  const float side = std::min(width, height);
  ThingsScene scene;
  scene.ground = dice.uniform(0, 1);
  scene.horizon = dice.uniform(0.3F, 0.6F);
  const auto count = static_cast<size_t>(kLeastThings + dice.below(kMostThings - kLeastThings + 1));
  // Where there is no room for it a thing is drawn anew, and after many draws made smaller.
  for (int tries = 0; scene.things.size() < count; ++tries) {
    Thing thing;
    thing.shape = static_cast<Shape>(dice.below(kShapes));
    thing.colour = dice.below(static_cast<int>(kDyesOfThings.size()));
    thing.large = dice.chance(0.5F);
    const float shrink = std::pow(0.9F, static_cast<float>(tries / 40));
    thing.radius = side * shrink * (thing.large ? dice.uniform(0.15F, 0.18F) : dice.uniform(0.07F, 0.09F));
    thing.centre = {dice.uniform(thing.radius, width - thing.radius),
                    dice.uniform(thing.radius, height - thing.radius)};
    const bool fits = std::all_of(scene.things.begin(), scene.things.end(), [&](const Thing& other) {
      return apart(thing, other) && (thing.shape != other.shape || thing.colour != other.colour);
    });
    if (fits) scene.things.push_back(thing);
  }
  return scene;
}

SceneSet::SceneSet(const Options& options, int64_t region_width)
    : options_(options), region_width_(region_width), splits_(make_splits(options)) {
  if (options.views != 1) {
    throw ConfigError(
        fmt::format("--views is {}, and a scene has one picture: give --views 1 with --regions", options.views));
  }
  if (region_width < 1 || region_width > kMostRegionWidth) {
    throw ConfigError(fmt::format("--regions is {}; it must be 1 to {}", region_width, kMostRegionWidth));
  }
}

StoreRecord SceneSet::record(int64_t image) const {
  const ThingsScene scene = make_scene(options_, image);
  StoreRecord record;
  record.identity = fmt::format("{:06}", image);
  record.source_path = fmt::format("images/{:06}.jpg", image);
  record.width = options_.width;
  record.height = options_.height;
  record.split = split(image);
  record.image = encode_jpeg(paint(scene, options_.width, options_.height), kQuality);
  Dice dice(options_.seed, static_cast<uint64_t>(image), Stream::kSceneCaption);
  for (int i = 0; i < kCaptionsPerScene; ++i)
    record.captions.push_back(i % 2 == 0 ? write_relation(dice, scene) : write_list(dice, scene));
  record.regions = Detector(options_, image, region_width_).find(scene);
  return record;
}

void SceneSet::for_each(int threads, const std::function<void(const StoreRecord&)>& sink) const {
  for_each_record(
      images(), threads, [this](int64_t image) { return record(image); }, sink);
}

}  // namespace muster::synth
