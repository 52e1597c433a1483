// One body of tests for every communicator: the contract of comm/communicator.h.
//
// Each function plays one rank and is called on all of them; it throws std::runtime_error where the contract is broken,
// so that it works on threads and processes alike. `device` is where the tensors of its calls are.
#pragma once

#include "comm/communicator.h"

namespace muster::contract {

// Every operation in every dtype against values computed by hand, in rank order.
void values_of_each_dtype(Communicator& communicator, at::Device device);
// Zero rows on some ranks, rows of zero length, sizes that do not divide.
void ragged_and_empty(Communicator& communicator, at::Device device);
// Input as output's own slice and the other way round.
void in_place(Communicator& communicator, at::Device device);
// Large enough for every algorithm an implementation may choose, with rows that are not a power of two.
void large(Communicator& communicator, at::Device device);
// Several Works in flight, finished in another order; moved, assigned over, tested, dropped.
void works_in_flight(Communicator& communicator, at::Device device);
// The same random numbers give the same bits in every run and on every rank: those of a sum in rank order.
void bits_of_sums(Communicator& communicator, at::Device device);
// Arguments refused at the door, in one line that names operation, call, rank and shape.
void misuse(Communicator& communicator);
// Needs checked mode and two ranks: one rank makes another call. Each of the `count` cases spoils the communicator.
int differing_call_count();
void differing_calls(Communicator& communicator, int which);

}  // namespace muster::contract
