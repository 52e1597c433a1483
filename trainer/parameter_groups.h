// Which rate and weight decay apply to which parameter, by name.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "trainer/trainer.pb.h"

namespace muster {

// Dotted names of modules' paths with their tensors.
using NamedParameters = std::vector<std::pair<std::string, at::Tensor>>;

// The index in config.group() of the first group whose glob (fnmatch(3): * ? [abc]; a * crosses dots) matches the name;
// -1: none does.
int find_group(const std::string& name, const OptimizerConfig& config);

// True if the parameter's group freezes it: it gets no gradient and is not handed to the optimizer.
bool is_frozen(const std::string& name, const OptimizerConfig& config);

// ConfigError naming the glob, with the nearest parameter names, if a group that does not freeze matches none of
// `trainable`: a misspelt glob must not pass in silence (one that begins with "heads." may, where there are no heads).
// With `names` of all parameters, frozen ones included, check_all_groups() does the same for groups that freeze.
void check_groups(const NamedParameters& trainable, const OptimizerConfig& config);
void check_all_groups(const std::vector<std::string>& names, const OptimizerConfig& config);

// Of a parameter: how many layers lie between it and the features. Names that are not in it count as 0.
using LayersAbove = std::map<std::string, int64_t>;

// Multiplies OptimizerConfig.rate: the group's multiplier times layer_decay ^ layers above the parameter (Clark et al.,
// ELECTRA, 2020; BEiT's get_parameter_groups).
double rate_multiplier(const std::string& name, const LayersAbove& layers, const OptimizerConfig& config);

// Of one parameter. 0 for tensors of at most one dimension (biases, norms' gains, the class embedding) and for the
// logit scale, also in a group with a weight_decay of its own, unless decay_all. SGD decays only if weight_decay is
// given.
double weight_decay(const std::string& name, const at::Tensor& parameter, const OptimizerConfig& config);

}  // namespace muster
