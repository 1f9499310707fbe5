// The rows that a unit reads, copied to shared memory while the team works on the unit before.
#pragma once

#include "device/ptx/cp_async.cuh"
#include "device/ptx/shared_access.cuh"
#include "quant/fp8_team.cuh"

namespace attn4j {

// A block of rows of D channels as they are in the tensor, zeros beyond head_dim. The 16-byte pieces of a row change
// places by a pattern of the row's number, so that 8 lanes with 8 rows read the same piece of each from different
// banks: rows 0 to 7 (Q), and rows 0 to 3 and 8 to 11 (K). The pattern repeats after 16 rows.
template <int D>
struct alignas(128) RowsBuffer {
  static constexpr int kRowBytes = 2 * D;
  unsigned char bytes[PrepassShape<D>::kBlock * kRowBytes];

  static __device__ __forceinline__ int swizzle(int row) {
    const int high = (row >> 2 ^ row >> 3) & 1;
    return D == 96 ? (row >> 1 & 1) | high << 1 : (row & 3) | high << 2;  // rows of 96 begin at 2 different banks
  }
  static __device__ __forceinline__ int offset(int row, int piece) {
    return row * kRowBytes + ((piece ^ swizzle(row)) << 4);
  }
  __device__ __forceinline__ uint32_t address(int row, int piece) const {
    return ptx::shared_address(bytes) + offset(row, piece);
  }
};

// Eight channels of a row as floats, zeros for the lanes that D leaves idle.
template <int D, DType T>
__device__ __forceinline__ void load_row8(float (&x)[8], const RowsBuffer<D>& rows, int row, int piece) {
  unpack8<T>(
      x, piece < PrepassShape<D>::kPieces ? ptx::load_shared_words4(rows.address(row, piece)) : make_uint4(0, 0, 0, 0));
}

// What a team is at: a unit, with the numbers that follow from it, and one of its blocks.
struct Fp8Step {
  Fp8Task task;
  int32_t kv_head, head;  // over the batch; of the tensor that is read
  int32_t first, end;     // the block's first row; rows that exist
  int32_t block, blocks;

  __device__ __forceinline__ bool ends_unit() const { return block + 1 == blocks; }
  __device__ __forceinline__ int batch(const PrepassParams& p) const { return p.schedule.heads_kv.quotient(kv_head); }
};

template <int D>
__device__ __forceinline__ Fp8Step first_step(const PrepassParams& p, int32_t unit) {
  constexpr int kBlock = PrepassShape<D>::kBlock;
  const Fp8Unit u = p.schedule.unit(unit);
  const Fp8Section& s = p.schedule.section(u.kv_head);
  Fp8Step step;
  step.task = u.task, step.kv_head = u.kv_head, step.block = 0;
  const int batch = step.batch(p);
  step.head = u.kv_head - batch * p.schedule.heads_kv.value;
  step.end = valid_keys(p.a, batch);
  int index = u.index, rows = p.a.lk_padded;
  step.blocks = s.run;
  if (u.task < Fp8Task::kExtremes) {
    rows = 0;
  } else if (u.task == Fp8Task::kExtremes) {
    rows = p.a.lk;
  } else if (u.task == Fp8Task::kQ) {
    const int member = s.q_member_units.quotient(u.index);
    index -= member * s.q_member_units.value;
    step.head = step.head * p.a.group + member;
    step.end = p.a.lq, rows = p.a.lq_padded;
  }
  step.first = index * step.blocks * kBlock;
  // At least one block, if of nothing.
  step.blocks = max(1, min(step.blocks, (rows - step.first + kBlock - 1) / kBlock));
  return step;
}

// Where each thread of a team copies from, from block to block.
struct RowSources {
  const unsigned char* of_thread[kTeamThreads];
};

// The same where keys, or all tokens, stand in the places of a list.
template <int D, DType T, bool kTokens>
__device__ __forceinline__ void fetch_listed_rows(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step,
                                                  const RowsBuffer<D>& to) {
  using Shape = PrepassShape<D>;
  const AttentionArgs& a = p.a;
  const bool is_q = kTokens && step.task == Fp8Task::kQ, is_k = step.task == Fp8Task::kK;
  const bool repeats = is_k || step.task == Fp8Task::kExtremes;
  const int thread = team.thread(), piece = thread % Shape::kPieces, row = thread / Shape::kPieces;
  const int32_t* const places = key_places(a, step.batch(p)) + step.first;
  const Strides& s = is_q ? a.q_stride : is_k ? a.k_stride : a.v_stride;
  const void* const x = is_q ? a.q : is_k ? a.k : a.v;
  const auto* from = reinterpret_cast<const unsigned char*>(rows_of<T>(x, s, step.batch(p), step.head)) + 16 * piece;
  const uint32_t target = to.address(row, piece);
  const int most = step.end - 1 - step.first;  // the last row that exists; before the block if none does
  const bool exists = 8 * piece < a.head_dim && step.end > 0;
#pragma unroll 4
  for (int i = 0; i < 8; i++) {
    const int r = row + i * Shape::kRowsAtOnce;
    const bool copies = exists && (r <= most || repeats);
    const int place = copies ? place_of_key(places, min(r, most)) : 0;
    ptx::cp_async_16(target + i * (Shape::kRowsAtOnce * D * 2), from + 2 * place * s.row, copies);
  }
}

// Starts the copy of a block of rows; kListed: keys stand in the places of a list; kTokens: queries do, too. Rows
// beyond the end are zeros; those of K are copies of the last key, which never raise a row maximum, and so are those
// that V's extremes are taken of.
template <int D, DType T, bool kListed, bool kTokens>
__device__ __forceinline__ void fetch_rows(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step,
                                           RowSources& sources, const RowsBuffer<D>& to) {
  using Shape = PrepassShape<D>;
  const AttentionArgs& a = p.a;
  if (step.task < Fp8Task::kExtremes) return;  // means read their keys themselves
  const bool is_q = step.task == Fp8Task::kQ, is_k = step.task == Fp8Task::kK;
  const int thread = team.thread(), piece = thread % Shape::kPieces, row = thread / Shape::kPieces;
  const bool copies = Shape::kCopiers == kTeamThreads || thread < Shape::kCopiers;
  if (kListed && copies && (kTokens || !is_q)) {
    fetch_listed_rows<D, T, kTokens>(team, p, step, to);
  } else if (copies) {
    const int64_t pitch = 2 * (is_q ? a.q_stride.row : is_k ? a.k_stride.row : a.v_stride.row);
    const unsigned char* from;
    if (step.block == 0) {
      const void* x = is_q ? a.q : is_k ? a.k : a.v;
      const Strides& s = is_q ? a.q_stride : is_k ? a.k_stride : a.v_stride;
      from = reinterpret_cast<const unsigned char*>(rows_of<T>(x, s, step.batch(p), step.head)) + 16 * piece +
             (step.first + row) * pitch;
    } else {
      from = sources.of_thread[thread] + Shape::kBlock * pitch;
    }
    sources.of_thread[thread] = from;
    const uint32_t target = to.address(row, piece);
    static_assert(Shape::kRowsAtOnce % 16 == 0, "then a pass is the same distance in the buffer for all rows");
    constexpr int kPass = Shape::kRowsAtOnce * D * 2;  // bytes of a pass in the buffer
    if (step.first + Shape::kBlock <= step.end && 8 * piece < a.head_dim) {
#pragma unroll
      for (int i = 0; i < 8; i++) {
        ptx::cp_async_16(target + i * kPass, from, true);
        from += Shape::kRowsAtOnce * pitch;
      }
    } else {
      const bool repeats = (is_k || step.task == Fp8Task::kExtremes) && step.end > 0, exists = 8 * piece < a.head_dim;
#pragma unroll 1
      for (int i = 0; i < 8; i++) {
        const int r = i * Shape::kRowsAtOnce, most = step.end - 1 - step.first - row;
        ptx::cp_async_16(target + i * kPass, from + min(r, most) * pitch, exists && (r <= most || repeats));
      }
    }
  }
  ptx::cp_async_commit();
}

}  // namespace attn4j
