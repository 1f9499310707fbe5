// What the host must know of attention/split/exact.cuh.
#pragma once

#include "attention/split/plan.h"
#include "host/plan.h"
#include "host/recipe.h"

namespace attn4j {

template <int kD>
struct SplitRecipe {
  using Planner = SplitPlanner<kD>;
  // More belong to kernels that keep all queries of a tile busy.
  static constexpr int32_t kMostQueries = 128;
  static constexpr int64_t kMostRows = int64_t{1} << 24;  // of a KV head
  static constexpr int64_t kMostCtas = INT32_MAX;

  static SplitRequest request(const AttentionArgs& a) {
    const int64_t seen = std::min<int64_t>(a.lk, int64_t{a.lq} + a.causal_offset);
    return {int64_t{a.batch} * a.heads_kv, int64_t{a.lq} * a.group, std::max<int64_t>(0, seen), a.head_dim};
  }
  static SplitPlan plan_for(const AttentionArgs& a, const Machine& m) {
    return Planner::plan(request(a), SplitMachine::of(m.multiprocessors, m.clock));
  }

  static double seconds(const KernelEntry&, const AttentionArgs& a, const Machine& machine) {
    return plan_for(a, machine).seconds;
  }
  static Refusal refuses(const KernelEntry&, const AttentionParams&, const AttentionArgs& a) {
    if (a.lq > kMostQueries) return {RefusalReason::kLimits, a.lq, kMostQueries};
    const SplitRequest r = request(a);
    if (r.rows > kMostRows) return {RefusalReason::kLimits, r.rows, kMostRows};
    const int64_t ctas = r.kv_heads * ((r.rows + Planner::Tiles::Few::kRows - 1) / Planner::Tiles::Few::kRows);
    return ctas > kMostCtas ? Refusal{RefusalReason::kLimits, ctas, kMostCtas} : Refusal{};
  }

  // The workspace of a call has room for the sums of all parts, whatever GPU it then runs on.
  static void prepare(AttentionPlan* plan) {
    kAlignedInputs.plan(plan);
    const int64_t bytes = Planner::most_partials(request(plan->args()));
    if (bytes > 0) plan->bind(&AttentionArgs::partials, bytes);
  }
  static int32_t launches(const AttentionPlan& plan) {
    return plan_for(plan.args(), plan.machine()).splits > 1 ? 1 : 0;
  }
  static Status enqueue_nothing(const AttentionPlan&, AttentionArgs*, void*, const Fp8Extras&, cudaStream_t) {
    return Status::kOk;
  }
  static constexpr Preparation kPreparation{prepare, enqueue_nothing, launches, false};

  template <DType T>
  static KernelEntry entry(const char* name, cudaError_t (*launch)(const AttentionArgs&, cudaStream_t)) {
    using Few = typename Planner::Tiles::Few;
    KernelEntry e = make_entry<kD, T>(name, Few::kRows, Few::kStageKeys, launch);
    e.function = Function::kExact;
    e.serves_sageattn = true;
    e.refuses = &refuses;
    e.preparation = &kPreparation;
    e.seconds = &seconds;
    e.sparse_from = kNeverSparse;
    return e;
  }
};

}  // namespace attn4j
