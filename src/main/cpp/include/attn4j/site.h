// attn4j: what is remembered of call sites, so that SpargeAttn runs where it pays. A site is all calls of one shape
// with one set of thresholds and one key of the caller's. The selection of a sparse call writes the share that each
// head left out into page-locked memory; a later call of the site reads it there. Nothing waits for the GPU.
//
//   int64_t site = attention_site(request);            // a PlanRequest of a SpargeAttn function
//   decide_site(site, SiteMode::kLearn, stream, &d);   // counts a call
//   if (d.sparse) { addresses.report = d.report; addresses.dense_heads = d.dense_heads; run_plan(sparse ...) }
//   else run_plan(dense ...)
//
// The table belongs to the library: 512 sites, of which the one that was asked for longest ago makes room. All
// functions may be called from any thread.
#pragma once

#include "attn4j/plan.h"

namespace attn4j {

/// How a call is decided.
enum class SiteMode : int32_t {
  kLearn = 0,   ///< by what earlier calls of the site left out, trying anew now and then
  kFrozen = 1,  ///< as the site stands, and dense where nothing is known: equal runs have equal results
  kAlways = 2,  ///< sparse, whatever it brings
};

/// What is known of a site.
enum class SiteState : int32_t {
  kUnknown = 0,  ///< no call has reported yet
  kSparse = 1,   ///< leaving out pays
  kDense = 2,    ///< it doesn't
};

/// Why a call was decided as it was.
enum class SiteReason : int32_t {
  kMode = 0,      ///< the mode says so
  kProbe = 1,     ///< sparse, to learn what would be left out
  kPays = 2,      ///< sparse: the share is above the one needed
  kPaysNot = 3,   ///< dense: it is below
  kAwaited = 4,   ///< dense: the first report is not in yet
  kCapture = 5,   ///< the stream is being captured: as the site stands, nothing is learnt
  kNoMemory = 6,  ///< as the site stands: there is no page-locked memory for reports, so nothing is learnt
};

/// What makes two calls one site.
struct SiteKey {
  int64_t batch = 0, queries = 0, keys = 0;
  int32_t heads_q = 0, heads_kv = 0, head_dim = 0;
  int32_t dtype = 0;     ///< DType
  int32_t function = 0;  ///< AttentionFunction
  int32_t causal = 0;    ///< 0, or 1 + CausalAlignment
  /// Bits: 1 kv_lengths; 2, 4, 8, 16 thresholds per head in the order of SparsityParams; 32 attention_sink; 64
  /// smooth_k; 128 token_order; 256 a mask, 512 a window, 1024 packed sequences, none of which a sparse kernel serves.
  int32_t flags = 0;
  float sm_scale = 0;  ///< 0: 1/sqrt(head_dim)
  float simthreshd1 = 0, cdfthreshd = 0, topk = 0, pvthreshd = 0;
  uint64_t caller = 0;  ///< PlanRequest::site_key
};

/// A site as it stands.
struct SiteFacts {
  SiteKey key;
  SiteState state = SiteState::kUnknown;
  float share = 0;   ///< left out, of the blocks that a mask leaves; heads that run dense count as 0
  float needed = 0;  ///< the share from which the sparse kernel is estimated to be the faster one
  int64_t calls = 0, sparse_calls = 0;
  uint64_t dense_heads[4] = {};  ///< a bit for each of the first 256 query heads: computed whole within sparse calls
};

/// What a call is to do.
struct SiteDecision {
  bool sparse = false;
  SiteReason reason = SiteReason::kMode;
  void* report = nullptr;        ///< for PlanAddresses::report
  uint64_t dense_heads[4] = {};  ///< for PlanAddresses::dense_heads
};

/// The site of a request whose function is spas_sage2_attn_meansim_cuda or its topk form; made if it is new. Negative:
/// -status, with the reason in last_error(), if no sparse kernel serves the request.
ATTN4J_API int64_t attention_site(const PlanRequest& request) noexcept;

/// Decides a call on `stream` and counts it. kInvalidArgument if the site has made room for another: ask for it anew.
ATTN4J_API Status decide_site(int64_t site, SiteMode mode, CUstream_st* stream, SiteDecision* decision) noexcept;

/// A site as it stands; nothing is counted.
ATTN4J_API Status describe_site(int64_t site, SiteFacts* facts) noexcept;

/// The sites that are remembered, those used last first: how many; the first `most` of them are written.
ATTN4J_API int32_t list_sites(SiteFacts* facts, int32_t most) noexcept;

/// Remembers a site of another process as it stood there. Its counts start at 0, and kLearn goes on from its share.
ATTN4J_API Status restore_site(const SiteFacts& facts) noexcept;

/// Forgets all sites. What calls in flight report is lost.
ATTN4J_API void forget_sites() noexcept;

}  // namespace attn4j
