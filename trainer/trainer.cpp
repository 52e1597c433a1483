#include "trainer/trainer.h"

#include <fmt/format.h>

#include <ATen/ops/scalar_tensor.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>

#include "comm/gradient_reducer.h"
#include "dataloader/loader.h"
#include "dataloader/sample_list.h"
#include "dataloader/split_captions.h"
#include "launch/error.h"
#include "launch/log.h"
#include "launch/signals.h"
#include "trainer/chunk_search.h"
#include "trainer/clean_pairs.h"
#include "trainer/collapse_alarm.h"
#include "trainer/device_loader.h"
#include "trainer/evaluation.h"
#include "trainer/head_start.h"
#include "trainer/model_tokenizer.h"
#include "trainer/optimizer.h"
#include "trainer/rank_comparison.h"
#include "trainer/reference_names.h"
#include "trainer/reference_start.h"
#include "trainer/replica.h"
#include "trainer/report/metrics_file.h"
#include "trainer/report/metrics_log.h"
#include "trainer/report/progress_line.h"
#include "trainer/run_checkpoints.h"
#include "trainer/run_folder.h"
#include "trainer/schedule.h"
#include "trainer/skipped_samples.h"
#include "trainer/step.h"
#include "trainer/step_job.h"
#include "trainer/weight_average.h"

namespace muster {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::shared_ptr<Model> on_device(std::shared_ptr<Model> model, at::Device device) {
  model->to(device);
  return model;
}

Heads on_device(Heads heads, at::Device device) {
  for (const auto& head : heads) head->to(device);
  return heads;
}

int64_t count_steps(const TrainConfig& config, int64_t steps_per_epoch) {
  if (config.has_steps()) return config.steps();
  return static_cast<int64_t>(std::ceil(config.epochs() * static_cast<double>(steps_per_epoch)));
}

CollapseAlarm make_alarm(const LossObjective& objective, int64_t batch) {
  std::vector<double> collapsed;
  for (size_t i = 0; i < objective.term_names().size(); ++i) collapsed.push_back(objective.collapsed_value(i, batch));
  return {collapsed, objective.term_names()};
}

}  // namespace

class Trainer::Impl {
 public:
  Impl(const RunSettings& settings, const std::string& config, const TrainingStores& stores, const std::string& run_dir,
       Communicator& communicator, const std::function<void(const NamedTensors&)>& initial_weights,
       const TraceRequest& trace, at::Device device, int64_t host_memory)
      : settings_(settings),
        config_(config),
        stores_(stores),
        run_dir_(run_dir),
        communicator_(communicator),
        host_memory_(host_memory),
        recorder_(trace.recorder),
        model_(on_device(make_model(settings.model, train_.seed()), device)),
        loss_device_(loss_device(device, train_.precision() == TrainConfig::BF16)),
        objective_(settings.objective, loss_device_),
        tokenizer_(make_model_tokenizer(settings.data, settings.model)),
        heads_(on_device(make_heads(settings, stores, *tokenizer_), device)),
        trainable_(take_trainable(*model_, objective_, train_.optimizer(), heads_)),
        optimizer_(trainable_, train_.optimizer(), model_->layers_above()),
        reducer_(trainable_, communicator, settings.comm.bucket_bytes()),
        references_(make_references(settings, stores, communicator, loss_device_)),
        head_losses_(heads_, *model_, communicator),
        step_(*model_, objective_, trainable_, reducer_, optimizer_, communicator, step_options(train_, recorder_),
              references_.get(), heads_.empty() ? nullptr : &head_losses_),
        steps_per_epoch_(make_sampler(SampleList(stores, settings.data), settings.data.sampler(), train_.global_batch(),
                                      train_.seed())
                             ->steps_per_epoch()),
        total_steps_(count_steps(train_, steps_per_epoch_)),
        schedule_(train_.schedule(), steps_per_epoch_, total_steps_),
        checkpoints_({*model_, objective_, heads_, optimizer_, average_, references_.get(), reference_names_}, run_dir,
                     config, train_, communicator, recorder_),
        alarm_(make_alarm(objective_, train_.global_batch())) {
    if (train_.global_batch() < communicator.size()) {
      throw ConfigError(fmt::format("train.global_batch is {}, fewer than the {} ranks; start at most {} ranks",
                                    train_.global_batch(), communicator.size(), train_.global_batch()));
    }
    // Before its checkpoints are read: they could change meanwhile.
    if (communicator.rank() == 0 && holds_run(run_dir)) lock_.emplace(run_dir);
    if (divides_pairs(train_)) {
      division_.emplace(settings_, stores_, *tokenizer_, *model_, objective_, communicator, steps_per_epoch_);
    }
    if (references_) reference_names_ = reference_names(references_->order(), stores_);
    state_.set_seed(train_.seed());
    state_.set_store_fingerprint(stores.fingerprint());
    resume(initial_weights);
    trace_.emplace(trace, run_dir, communicator, state_.step(), total_steps_);
    const Shard shard{communicator.rank(), communicator.size()};
    loader_.emplace(stores, settings.data, input_size(settings.model), *tokenizer_,
                    SampleStream{train_.seed(), train_.global_batch(), shard, state_.step(), total_steps_}, recorder_);
    batches_.emplace(*loader_, device, total_steps_ - state_.step());
  }

  bool run(int64_t stop_after) {
    if (communicator_.rank() == 0) {
      open_run();
      log_header();
    }
    communicator_.set_phase("training", 0);
    choose_chunk();
    start_interval();
    while (state_.step() < total_steps_) {
      trace_->before_step(state_.step() + 1);
      const bool stop = run_step(stop_after);
      if (trace_->ends_with(state_.step())) finish_saving(false);
      if (stop && state_.step() < total_steps_) {
        finish_saving(true);
        return false;
      }
    }
    finish_saving(true);
    return true;
  }

  int64_t step() const { return state_.step(); }
  int64_t total_steps() const { return total_steps_; }
  int64_t skipped_steps() const { return state_.skipped_steps(); }

 private:
  bool is_due(int64_t every) const {
    return state_.step() == total_steps_ || (every > 0 && state_.step() % every == 0);
  }

  void open_run() {
    if (!lock_) {
      make_run_folder(run_dir_);
      lock_.emplace(run_dir_);
      if (holds_run(run_dir_)) {
        throw ConfigError(run_dir_ + " was begun by another process just now; the same command continues it");
      }
    }
    write_run_config(run_dir_, config_);
    metrics_.emplace(run_dir_, state_.step());
    cut_metrics(skipped_samples_path(run_dir_), state_.step());
  }

  // One step and what is due after it; true if the run should stop here.
  bool run_step(int64_t stop_after) {
    const TraceSpan span(recorder_, "step", {"step", state_.step() + 1});
    const StepResult result = train_step();
    if (is_due(train_.log_every())) log_step(result);
    const bool best = is_due(train_.evaluation().every()) && evaluate();
    const bool stop = agree_to_stop() || state_.step() >= stop_after;
    if (best || stop || is_due(train_.checkpoint().every())) {
      save();
    } else if (is_due(train_.compare_ranks_every())) {
      const TraceSpan compare(recorder_, "compare ranks");
      compare_ranks(replicated_parts(), state_.step(), communicator_);
    }
    checkpoints_.report();
    return stop;
  }

  Batch next_batch() {
    const TraceSpan span(recorder_, "data");
    return batches_->next();
  }

  // What an epoch begins with, in its first step or where the run goes on.
  void divide_pairs() {
    if (!division_) return;
    const TraceSpan span(recorder_, "clean pairs");
    communicator_.set_phase("clean pairs", settings_.comm.slow_phase_timeout_s());
    const bool divided = division_->begin_epoch(state_.step() / steps_per_epoch_);
    communicator_.set_phase("training", 0);
    if (!divided) return;
    *state_.mutable_clean_pairs() = division_->state();
    start_interval();
  }

  StepResult train_step() {
    divide_pairs();
    const Batch batch = next_batch();
    const Progress progress{state_.step(), epoch()};
    model_->train();
    const at::Tensor weight = division_ ? division_->weights(batch.position) : at::Tensor();
    const StepResult result = step_.run(batch, progress, schedule_.factor(state_.step()), weight);
    if (!result.is_finite()) {
      skip(result);
    } else {
      if (average_) average_->update(state_.step());
      state_.clear_skipped_in_a_row();
    }
    reduce_wait_ += result.reduce_wait_seconds;
    communicator_.step_done(state_.step() + 1);
    state_.set_step(state_.step() + 1);
    if (const std::string told = alarm_.observe(state_.step(), result.terms); metrics_ && !told.empty()) {
      log_warning(told);
    }
    state_.set_samples_seen(state_.samples_seen() + train_.global_batch());
    return result;
  }

  // The step that has just run changed nothing, on no rank.
  void skip(const StepResult& result) {
    const char* what = std::isfinite(result.loss) ? "gradient" : "loss";
    if (metrics_) record_skipped(result);
    const int64_t in_a_row = state_.skipped_in_a_row() + 1, allowed = train_.non_finite().skip();
    if (in_a_row > allowed) {
      throw NonFiniteError(fmt::format(
          "step {}: the {} is not finite, {} step(s) in a row (train.non_finite.skip is {}), and none of them changed "
          "anything; their samples are in {}. Lower train.optimizer.rate or set train.clip_norm, and train anew or "
          "from a checkpoint",
          state_.step() + 1, what, in_a_row, allowed, skipped_samples_path(run_dir_)));
    }
    state_.set_skipped_in_a_row(in_a_row);
    state_.set_skipped_steps(state_.skipped_steps() + 1);
    if (!metrics_) return;
    log_warning(fmt::format(
        "step {}: the {} is not finite: the step is skipped on every rank, nothing was changed ({} of at "
        "most {} in a row, {} in all; samples in {})",
        state_.step() + 1, what, in_a_row, allowed, state_.skipped_steps(), skipped_samples_path(run_dir_)));
  }

  void record_skipped(const StepResult& result) {
    try {
      record_skipped_samples(run_dir_, result, state_.step(), stores_, settings_.data, train_);
    } catch (const DataError& error) {
      log_error(fmt::format("{}; training goes on", error.what()));
    }
  }

  void choose_chunk() {
    if (train_.chunk() != kAutoChunk) return;
    model_->train();
    const StepJob job = make_step_job(settings_, stores_, communicator_.size(), settings_.model.text().context());
    step_.set_chunk(find_chunk(step_, job, model_->device(), host_memory_, communicator_));
  }

  double epoch() const { return static_cast<double>(state_.step()) / static_cast<double>(steps_per_epoch_); }

  void log_step(const StepResult& result) {
    const TraceSpan span(recorder_, "log");
    const double elapsed = seconds_since(interval_start_);
    const auto steps = static_cast<double>(state_.step() - interval_first_step_);
    StepRecord record;
    record.step = state_.step();
    record.total_steps = total_steps_;
    record.epoch = epoch();
    record.loss = result.loss;
    const std::vector<std::string> names = step_.term_names();
    const size_t of_objective = objective_.term_names().size();
    for (size_t i = 0; i < names.size(); ++i) {
      if (i >= of_objective || objective_.counts_at(i, state_.step() - 1)) {
        record.terms.emplace_back(names[i], result.terms[i]);
      }
    }
    record.grad_norm = result.gradient_norm;
    record.rate = train_.optimizer().rate() * schedule_.factor(state_.step() - 1);
    record.logit_scale = objective_.logit_scale();
    record.samples_per_second = steps * static_cast<double>(train_.global_batch()) / elapsed;
    record.data_wait_share = (batches_->waited_seconds() - data_wait_before_) / elapsed;
    record.comm_wait_share = reduce_wait_ / elapsed;
    record.eta_seconds = elapsed / steps * static_cast<double>(total_steps_ - state_.step());
    if (metrics_) {
      metrics_->step(record);
      printer_.print(record);
    }
    start_interval();
  }

  void start_interval() {
    interval_start_ = Clock::now();
    interval_first_step_ = state_.step();
    data_wait_before_ = batches_->waited_seconds();
    reduce_wait_ = 0;
  }

  // True if this is the best text-to-image R@1 on val so far.
  bool evaluate() {
    const Store& store = stores_.first();
    if (captions_of(store, Split::kVal) == 0 || trains_on_val(settings_.data)) return false;
    const TraceSpan span(recorder_, "evaluation");
    communicator_.set_phase("evaluation", settings_.comm.slow_phase_timeout_s());
    const AveragedWeights averaged(average_ ? &*average_ : nullptr);
    const SplitEmbeddings embeddings = embed_split(*model_, store, Split::kVal, settings_, communicator_);
    const EvaluationRecord record = evaluate_embeddings(embeddings, Split::kVal, state_.step(), communicator_);
    const double r1 = record.text_to_image.r1;
    const bool best = !state_.has_best_val_r1() || r1 > state_.best_val_r1();
    if (best) {
      state_.set_best_val_r1(r1);
      state_.set_best_step(state_.step());
    }
    if (metrics_) {
      metrics_->evaluation(record);
      printer_.print(record);
    }
    communicator_.set_phase("training", 0);
    start_interval();
    return best;
  }

  void save() {
    const TraceSpan span(recorder_, "checkpoint");
    communicator_.set_phase("saving", settings_.comm.slow_phase_timeout_s());
    const bool shards = references_ != nullptr && references_->is_sharded();
    const std::vector<ReplicatedPart> parts = replicated_parts();
    compare_ranks(parts, state_.step(), communicator_);
    require_finite(parts, shards ? references_->row_state() : NamedTensors(), state_.step(), communicator_);
    if (metrics_) keep_run_folder();
    checkpoints_.save(state_);
    communicator_.set_phase("training", 0);
  }

  // What every rank holds in the same bits.
  std::vector<ReplicatedPart> replicated_parts() const {
    std::vector<ReplicatedPart> parts = {{"weights", replica_tensors(*model_, objective_, heads_)},
                                         {"optimizer state", optimizer_.state()},
                                         {"average of the weights", average_ ? average_->tensors() : NamedTensors()}};
    if (!references_) return parts;
    parts.push_back({"means of the features", references_->means()});
    if (!references_->is_sharded()) parts.push_back({"references", references_->row_state()});
    return parts;
  }

  // What stands beside the checkpoints. Training goes on without it if it must.
  void keep_run_folder() {
    try {
      if (!holds_run(run_dir_)) make_anew();
      metrics_->flush();
    } catch (const DataError& error) {
      log_error(fmt::format("{}; training goes on", error.what()));
    }
  }

  void make_anew() {
    log_warning(
        fmt::format("{} was removed while it was trained in: it is made anew, without what was recorded "
                    "before step {}",
                    run_dir_, state_.step()));
    lock_.reset();
    open_run();
  }

  void finish_saving(bool is_last) {
    communicator_.set_phase("saving", settings_.comm.slow_phase_timeout_s());
    {
      const TraceSpan span(recorder_, "checkpoint");
      if (is_last) {
        checkpoints_.finish(state_);
      } else {
        checkpoints_.settle();
      }
    }
    if (trace_->is_open()) trace_->write();
    communicator_.set_phase("training", 0);
  }

  bool agree_to_stop() {
    const TraceSpan span(recorder_, "agree on stop");
    const at::Tensor flag = at::scalar_tensor(stop_requested() ? 1 : 0, at::kInt);
    communicator_.all_reduce(flag, ReduceOp::kMax, "agree on stop").wait();
    return flag.item<int>() != 0;
  }

  void resume(const std::function<void(const NamedTensors&)>& initial_weights) {
    if (const auto state = checkpoints_.resume(stores_, initial_weights)) {
      state_ = *state;
      if (division_ && state_.has_clean_pairs()) division_->resume(state_.clean_pairs());
    } else if (references_) {
      initialise_references(*references_, *model_, settings_, stores_, communicator_);
    }
  }

  void log_header() {
    int64_t parameters = 0;
    for (const auto& parameter : trainable_) parameters += parameter.second.numel();
    log_info(fmt::format("{} ranks, {} trainable parameters, global batch {}, {} steps = {:.1f} epochs of {} steps",
                         communicator_.size(), parameters, train_.global_batch(), total_steps_,
                         static_cast<double>(total_steps_) / static_cast<double>(steps_per_epoch_), steps_per_epoch_));
    if (trains_on_val(settings_.data)) {
      log_info("data.train_splits has VAL: val is not evaluated while training, and no checkpoint is the best one");
    }
    for (const std::string& group : optimizer_.describe_groups()) log_info(group);
    if (references_) log_info(references_->describe());
    if (state_.step() > 0)
      log_info(fmt::format("continuing {} after step {} of {}", run_dir_, state_.step(), total_steps_));
  }

  const RunSettings settings_;
  const TrainConfig& train_ = settings_.train;
  const std::string config_;
  const TrainingStores stores_;
  const std::string run_dir_;
  Communicator& communicator_;
  const int64_t host_memory_;      // bytes, of this rank
  TraceRecorder* const recorder_;  // may be null
  std::shared_ptr<Model> model_;
  LossDevice loss_device_;
  LossObjective objective_;
  std::unique_ptr<Tokenizer> tokenizer_;
  Heads heads_;
  NamedParameters trainable_;
  Optimizer optimizer_;
  GradientReducer reducer_;
  std::unique_ptr<ReferenceBank> references_;  // if the run keeps a bank
  HeadLosses head_losses_;
  NamedTensors reference_names_;  // of its rows
  TrainingStep step_;
  int64_t steps_per_epoch_;
  int64_t total_steps_;
  Schedule schedule_;
  std::optional<PairDivision> division_;  // if the run divides its pairs
  std::optional<WeightAverage> average_;  // if the run keeps one
  TrainState state_;
  RunCheckpoints checkpoints_;
  CollapseAlarm alarm_;
  std::optional<RunFolderLock> lock_;  // on rank 0, from the start if a run is there
  std::optional<MetricsLog> metrics_;  // on rank 0
  ProgressPrinter printer_{communicator_.size() == 1};
  std::optional<StepTrace> trace_;
  std::optional<Loader> loader_;
  std::optional<DeviceLoader> batches_;  // of the loader

  Clock::time_point interval_start_;
  int64_t interval_first_step_ = 0;
  double data_wait_before_ = 0;
  double reduce_wait_ = 0;
};

Trainer::Trainer(const RunSettings& settings, const std::string& config, const TrainingStores& stores,
                 const std::string& run_dir, Communicator& communicator,
                 const std::function<void(const NamedTensors&)>& initial_weights, const TraceRequest& trace,
                 at::Device device, int64_t host_memory)
    : impl_(std::make_unique<Impl>(settings, config, stores, run_dir, communicator, initial_weights, trace, device,
                                   host_memory)) {}
Trainer::~Trainer() = default;
bool Trainer::run(int64_t stop_after) {
  return impl_->run(stop_after);
}
int64_t Trainer::step() const {
  return impl_->step();
}
int64_t Trainer::total_steps() const {
  return impl_->total_steps();
}
int64_t Trainer::skipped_steps() const {
  return impl_->skipped_steps();
}

}  // namespace muster
