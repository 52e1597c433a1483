#include "trainer/encoders/published_weights.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>
#include <utility>

#include "launch/error.h"

namespace muster {
namespace {

using Form = PublishedTensor::Form;

constexpr size_t kNamesInMessage = 4;

bool is_position_table(const std::string& ours) {
  return ours == "image.position_embedding" || ours == "text.position_embedding";
}

bool is_of_objective(const std::string& ours) {
  return ours.rfind("objective.", 0) == 0;
}

// "a, b, c, d and 3 more"
std::string list_names(const std::vector<std::string>& names) {
  const size_t shown = std::min(names.size(), kNamesInMessage);
  const std::string list =
      fmt::format("{}", fmt::join(names.begin(), names.begin() + static_cast<int64_t>(shown), ", "));
  return shown == names.size() ? list : fmt::format("{} and {} more", list, names.size() - shown);
}

// What a user can type to leave these out: a glob for each module.
std::string suggest_globs(const std::vector<std::string>& names, const std::string& prefix) {
  std::set<std::string> globs;
  for (const std::string& name : names) {
    const size_t begin = name.rfind(prefix, 0) == 0 ? prefix.size() : 0, dot = name.find('.', begin);
    globs.insert(dot == std::string::npos ? name : name.substr(0, dot + 1) + "*");
  }
  std::string list;
  for (const std::string& glob : globs) list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", glob);
  return list;
}

class Globs {
 public:
  explicit Globs(const std::vector<std::string>& globs) : globs_(globs), used_(globs.size()) {}

  bool match(const std::string& name) {
    bool any = false;
    for (size_t i = 0; i < globs_.size(); ++i) {
      const bool matches = fnmatch(globs_[i].c_str(), name.c_str(), 0) == 0;
      used_[i] = used_[i] || matches;
      any |= matches;
    }
    return any;
  }

  void require_all_used(const PublishedModel& published) const {
    const auto unused = std::find(used_.begin(), used_.end(), false);
    if (unused == used_.end()) return;
    const std::vector<TensorShape>& tensors = published.file().tensors();
    throw ConfigError(fmt::format("train.init.ignore \"{}\" matches none of the {} tensors of {} (such as {})",
                                  globs_[static_cast<size_t>(unused - used_.begin())], tensors.size(),
                                  published.file().path(), tensors.front().name));
  }

 private:
  const std::vector<std::string>& globs_;
  std::vector<bool> used_;
};

// The shape that a file's tensor must have to become ours; a position table's first size is free.
std::vector<int64_t> expected_shape(const PublishedTensor& tensor, at::IntArrayRef ours, int64_t patch) {
  switch (tensor.form) {
    case Form::kSame:
      return ours.vec();
    case Form::kConvolution:
      return {ours[0], 3, patch, patch};
    case Form::kTransposed:
      return {ours[1], ours[0]};
    case Form::kThird: {
      std::vector<int64_t> third = ours.vec();
      third[0] /= 3;
      return third;
    }
  }
  return {};
}

void check_tensor(const PublishedTensor& tensor, const TensorShape& theirs, const at::Tensor& ours,
                  const PublishedModel& published) {
  std::vector<int64_t> expected = expected_shape(tensor, ours.sizes(), published.model().image().patch());
  if (is_position_table(tensor.ours) && theirs.sizes.size() == 2) expected[0] = theirs.sizes[0];
  const bool scalar = is_of_objective(tensor.ours) && theirs.sizes == std::vector<int64_t>{1};
  if (theirs.sizes != expected && !scalar) {
    throw DataError(
        fmt::format("{}: {} has shape [{}], and this model needs [{}] ({}): give the model it was made of, "
                    "or train.init.ignore: \"{}\"",
                    published.file().path(), theirs.name, fmt::join(theirs.sizes, ", "), fmt::join(expected, ", "),
                    tensor.ours, theirs.name));
  }
  if (!c10::isFloatingType(theirs.type)) {
    throw DataError(fmt::format("{}: {} holds {} numbers; weights are floating-point", published.file().path(),
                                theirs.name, c10::toString(theirs.type)));
  }
}

void place(const PublishedTensor& tensor, const at::Tensor& theirs, const at::Tensor& ours,
           const PublishedChoice& choice) {
  if (is_position_table(tensor.ours)) {
    ours.copy_(choice.fit(tensor.ours, theirs.to(at::kFloat)));
  } else if (tensor.form == Form::kTransposed) {
    ours.copy_(theirs.t());
  } else if (tensor.form == Form::kThird) {
    const int64_t rows = theirs.size(0);
    ours.narrow(0, tensor.part * rows, rows).copy_(theirs);
  } else {
    ours.copy_(theirs.reshape(ours.sizes()));
  }
}

// What goes where: by place in the file.
struct Plan {
  struct Copy {
    PublishedTensor tensor;
    at::Tensor ours;
  };
  std::map<size_t, Copy> copies;
  PublishedOutcome outcome;
};

// Of the model's own tensors, none may stay as it is unseen: the sizes agree, so this is a bug.
void check_all_named(const std::vector<PublishedTensor>& tensors, const NamedTensors& into) {
  std::set<std::string> named;
  for (const PublishedTensor& tensor : tensors) named.insert(tensor.ours);
  for (const auto& [name, tensor] : into) {
    if (named.count(name) == 0) throw std::logic_error("copy_published: no published tensor is " + name);
  }
}

Plan make_plan(const PublishedModel& published, Globs& globs, const NamedTensors& into) {
  std::map<std::string, at::Tensor> ours(into.begin(), into.end());
  Plan plan;
  const ModelConfig& model = published.model();
  const std::vector<PublishedTensor> tensors =
      published_tensors(published.style(), model.image().layers(), model.text().layers());
  check_all_named(tensors, into);
  for (const PublishedTensor& tensor : tensors) {
    const std::string name = published.prefix() + tensor.theirs;
    const std::optional<size_t> place = published.find(tensor.theirs);
    const auto own = ours.find(tensor.ours);
    if (globs.match(name)) continue;
    if (!place) {
      if (is_of_objective(tensor.ours)) continue;
      throw DataError(
          fmt::format("{}: no tensor {}, which this model needs ({}); it may be left out with "
                      "train.init.ignore: \"{}\"",
                      published.file().path(), name, tensor.ours, name));
    }
    if (own == ours.end()) {
      if (!is_of_objective(tensor.ours)) throw std::logic_error("copy_published: no tensor " + tensor.ours);
      plan.outcome.spare.push_back(name);
      continue;
    }
    check_tensor(tensor, published.file().tensors()[*place], own->second, published);
    if (is_of_objective(tensor.ours)) plan.outcome.objective.push_back(tensor.ours);
    plan.copies.emplace(*place, Plan::Copy{tensor, own->second});
  }
  return plan;
}

// Every tensor of the file is taken, left out as asked, or none of a model's.
void account_for_the_rest(const PublishedModel& published, Globs& globs, Plan& plan) {
  std::vector<std::string> unknown;
  const std::vector<TensorShape>& tensors = published.file().tensors();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string& name = tensors[i].name;
    if (plan.copies.count(i) > 0) continue;
    const std::vector<std::string>& spare = plan.outcome.spare;
    if (globs.match(name)) {
      plan.outcome.ignored.push_back(name);
    } else if (std::find(spare.begin(), spare.end(), name) == spare.end() &&
               !is_no_weight(published.style(), name.substr(std::min(published.prefix().size(), name.size())))) {
      unknown.push_back(name);
    }
  }
  if (unknown.empty()) return;
  throw DataError(
      fmt::format("{}: {} of its {} tensors have no place in this model ({}); leave them out with "
                  "train.init.ignore: [{}]",
                  published.file().path(), unknown.size(), tensors.size(), list_names(unknown),
                  suggest_globs(unknown, published.prefix())));
}

}  // namespace

PublishedOutcome copy_published(const PublishedModel& published, const PublishedChoice& choice,
                                const NamedTensors& into) {
  Globs globs(choice.ignore);
  Plan plan = make_plan(published, globs, into);
  account_for_the_rest(published, globs, plan);
  globs.require_all_used(published);
  if (plan.copies.empty()) throw ConfigError("train.init.ignore leaves no tensor of " + published.file().path());
  const at::NoGradGuard no_grad;
  std::vector<size_t> wanted;
  for (const auto& [index, copy] : plan.copies) wanted.push_back(index);
  published.file().read(wanted, [&](size_t index, const at::Tensor& theirs) {
    const Plan::Copy& copy = plan.copies.at(index);
    place(copy.tensor, theirs, copy.ours, choice);
  });
  return std::move(plan.outcome);
}

}  // namespace muster
