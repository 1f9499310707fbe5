// Device side of the Hopper path's quantisation.
#pragma once

#include <cstddef>

#include "arch/arch.h"
#include "device/launch.cuh"
#include "device/ptx/bulk_copy.cuh"
#include "quant/fp8_quantise.cuh"
#include "quant/fp8_statistics.cuh"

namespace attn4j {

// Clears what a call counts and adds up. An ordinary launch: the workspace's last user has finished. No template: other
// architectures compile it, and never launch it.
__global__ void __launch_bounds__(kTeamThreads) fp8_clear(const __grid_constant__ PrepassParams p) {
  if constexpr (arch::kSm == 90) ptx::griddepcontrol_launch_dependents();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kTeamThreads + threadIdx.x;
  const int64_t heads = static_cast<int64_t>(p.a.batch) * p.a.heads_kv;
  const int d = p.compiled_d;
  if (i == 0) *p.a.work_counter = p.units_drawn[0] = p.units_drawn[1] = 0;
  if (i < heads) p.images_done[i] = p.means_done[i] = p.v_done[i] = 0;
  if (i < p.parts_done_count) p.a.parts_done[i] = 0;
  if (i < p.extras.cleared_count) p.extras.cleared[i] = 0;
  // V's scales, which no unit writes if there is no V, with the rounding errors behind them; its extremes.
  const int size = v_scale_size(d);
  if (i < heads * size) const_cast<float*>(p.a.v_scale)[i] = i % size / d == 1 ? kNoError : 0.f;
  if (i < heads * 2 * d) {
    p.statistics[i / (2 * d) * head_statistics_size(d) + i % (2 * d)] = __int_as_float(ordered(-kInfinity));
  }
}

// One CTA per SM. With kPool a thread needs more registers, and there are fewer teams.
template <bool kPool>
constexpr int kTeams = kPool ? 2 : 3;

template <int D>
struct PrepassShared {  // of a team, aligned as its rows are
  RowsBuffer<D> rows[2];
  RowSources sources;
  StatisticsScratch<D> statistics;
  int32_t tickets[2];  // in turn, so that one is written while the other is read
  Pool<D> pool;        // last, and not there without pooling
};

template <int D, bool kPool>
constexpr int kPrepassTeamBytes =
    ((kPool ? sizeof(PrepassShared<D>) : offsetof(PrepassShared<D>, pool)) + 127) / 128 * 128;

// Hands out the units (quant/fp8_schedule.h): one thread of a team draws its next unit while the team works. Whatever a
// team draws comes after what it has drawn before. No unit belongs to a CTA that may not have started: units wait for
// the statistics of those before them, and another stream's kernels (NCCL's, which wait for other GPUs) may hold an SM.
struct Fp8Tickets {
  int32_t* drawn;  // [2]: of the early units, of the late ones
  bool late = false;

  __device__ __forceinline__ int32_t draw(const Fp8Schedule& s) {
    if (!late) {
      const int32_t unit = atomicAdd(drawn, 1);
      if (unit < s.early_units()) return unit;
      late = true;
    }
    if (static_cast<int>(blockIdx.x) >= s.late_ctas) return s.units();
    return s.early_units() + atomicAdd(drawn + 1, 1);
  }
};

// kListed: keys stand in the places of a list; with kPool all tokens do, as SpargeAttn takes no masks of keys.
template <int D, DType T, bool kPool, bool kListed>
__global__ void __launch_bounds__(kTeamThreads* kTeams<kPool>, 1) fp8_prepass(const __grid_constant__ PrepassParams p) {
  constexpr bool kTokens = kListed && kPool;
  ATTN4J_DYNAMIC_SHARED(128, unsigned char, shared);
  const Fp8Team team;
  auto& mine = *reinterpret_cast<PrepassShared<D>*>(shared + team.number() * kPrepassTeamBytes<D, kPool>);
  Fp8Tickets tickets{p.units_drawn};
  ptx::griddepcontrol_wait();  // the counters are clear: attention, which reads them too, may start
  ptx::griddepcontrol_launch_dependents();
  if (team.thread() == 0) mine.tickets[1] = tickets.draw(p.schedule);
  team.sync();
  const int32_t first = mine.tickets[1];
  bool more = first < p.schedule.units();
  Fp8Step next{};
  if (more) {
    next = first_step<D>(p, first);
    fetch_rows<D, T, kListed, kTokens>(team, p, next, mine.sources, mine.rows[0]);
  }
  if (more && team.thread() == 0) mine.tickets[0] = tickets.draw(p.schedule);
  int turn = 0;
  int32_t* complete = nullptr;  // the counter that the unit before adds to, when all of the team are done with it
  int32_t completed = 0;
  for (int i = 0; more; i ^= 1) {
    const Fp8Step now = next;
    ptx::cp_async_wait<0>();
    team.sync();  // the rows and the next ticket are there, and the block before is done
    if (now.ends_unit()) {
      const int32_t unit = mine.tickets[turn];
      turn ^= 1;
      more = unit < p.schedule.units();
      if (more) next = first_step<D>(p, unit);
    } else {
      next.block++;
      next.first += PrepassShape<D>::kBlock;
    }
    if (complete != nullptr && team.thread() == 0) ptx::add_release(complete, completed);
    complete = nullptr;
    if (more) fetch_rows<D, T, kListed, kTokens>(team, p, next, mine.sources, mine.rows[i ^ 1]);
    const bool draws = now.ends_unit() && more && team.thread() == 0;
    const int32_t drawn = draws ? tickets.draw(p.schedule) : 0;  // its latency hides behind the block
    if (now.task == Fp8Task::kMean) {
      mean_of_keys<D, T, kListed>(team, p, now, mine.statistics);
    } else if (now.task == Fp8Task::kVMean) {
      mean_of_values<D, T, kListed>(team, p, now, mine.rows[i], mine.statistics);
    } else if (now.task == Fp8Task::kExtremes) {
      extremes_of_values<D, T>(team, p, now, mine.rows[i], mine.statistics);
    } else if (now.task == Fp8Task::kQ) {
      quantise_q<D, T, kPool>(team, p, now, mine.rows[i], mine.pool);
    } else if (now.task == Fp8Task::kK) {
      quantise_k<D, T, kPool>(team, p, now, mine.rows[i], mine.statistics, mine.pool);
    } else {
      quantise_v<D, T, kListed>(team, p, now, mine.rows[i], mine.statistics);
    }
    if (draws) mine.tickets[turn] = drawn;
    if (now.ends_unit()) {
      int32_t* const done = now.task == Fp8Task::kMean ? p.means_done
                            : now.task < Fp8Task::kQ   ? p.v_done
                                                       : p.images_done;
      complete = done + now.kv_head;
      completed = done == p.images_done ? now.blocks : 1;
    }
  }
  team.sync();
  if (complete != nullptr && team.thread() == 0) ptx::add_release(complete, completed);
}

}  // namespace attn4j
