// What an objective's config says: its terms, their names, and what is impossible in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/alignment.h"
#include "trainer/losses/losses.pb.h"

namespace muster {

struct LossTerm;

// What is impossible in an objective, whatever the model: one line each, naming the field ("objective.term[0].weight").
std::vector<std::string> find_problems(const Objective& config);

// What the terms are, in their order. ConfigError with all of find_problems().
std::vector<LossTerm> describe_terms(const Objective& config);

// "objective.term[0]"
std::string term_path(int index);
// As LossObjective::term_names().
std::vector<std::string> name_terms(const Objective& config);

// Whether a term counts at a step of the run, from 0 on.
bool counts(const Term& term, int64_t step);

// Whether a term with a weight is of this pair of features.
bool trains_pair(const Objective& config, const std::string& pair);

// The pair of features whose scores teach a term; empty: none does.
std::string teacher_of(const Term& term);

// As the config says it.
Alignment make_alignment(const AlignmentConfig& config);

}  // namespace muster
