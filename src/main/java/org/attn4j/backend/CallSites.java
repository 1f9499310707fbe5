package org.attn4j.backend;

import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.attn4j.SparsityDecisions.Key;
import org.attn4j.SparsityDecisions.Site;
import org.attn4j.SparsityDecisions.State;
import org.attn4j.natives.SiteFacts;
import org.attn4j.natives.SiteKey;
import org.attn4j.natives.global.attn4j;
import org.attn4j.runtime.NativeLibrary;

/**
 * The native libraries' tables of call sites, one by one: a machine with GPUs of two kinds has two.
 * Internal.
 */
public final class CallSites {
  private static final int MOST = 512;
  private static final int WORD = 64;
  private static final int WORDS = 4;

  private CallSites() {}

  /** The sites of all libraries, those used last first within each. */
  public static List<Site> list() {
    Set<Site> sites = new LinkedHashSet<>();
    forEachLibrary(
        () -> {
          try (SiteFacts facts = new SiteFacts(MOST)) {
            int count = Math.min(attn4j.list_sites(facts, MOST), MOST);
            for (int i = 0; i < count; i++) {
              sites.add(read(facts.getPointer(i)));
            }
          }
        });
    return List.copyOf(sites);
  }

  /** Makes the sites known to every library. */
  public static void restore(List<Site> sites) {
    forEachLibrary(
        () -> {
          try (SiteFacts facts = new SiteFacts()) {
            for (Site site : sites) {
              write(site, facts);
              int status = attn4j.restore_site(facts);
              if (status != NativeStatus.OK) {
                throw NativeStatus.exception(status, attn4j.last_error().getString());
              }
            }
          }
        });
  }

  /** Empties the tables. */
  public static void forget() {
    forEachLibrary(attn4j::forget_sites);
  }

  private static void forEachLibrary(Runnable action) {
    if (NativeLibrary.loadFailure().isPresent()) {
      return;
    }
    int devices = NativeLibrary.selection().choices().size();
    if (devices == 0) {
      NativeLibrary.useFirst();
      action.run();
    }
    for (int device = 0; device < devices; device++) {
      NativeLibrary.use(device); // a library that serves two is visited twice, which does no harm
      action.run();
    }
  }

  private static Site read(SiteFacts facts) {
    SiteKey key = facts.key();
    List<Integer> denseHeads = new ArrayList<>();
    for (int head = 0; head < WORD * WORDS; head++) {
      if ((facts.dense_heads(head / WORD) >>> head % WORD & 1) != 0 && head < key.heads_q()) {
        denseHeads.add(head);
      }
    }
    return new Site(
        new Key(
            key.caller(),
            key.batch(),
            key.queries(),
            key.keys(),
            key.heads_q(),
            key.heads_kv(),
            key.head_dim(),
            List.of(key.dtype(), key.function(), key.causal(), key.flags()),
            List.of(
                key.sm_scale(), key.simthreshd1(), key.cdfthreshd(), key.topk(), key.pvthreshd())),
        State.values()[facts.state().value],
        facts.share(),
        facts.needed(),
        denseHeads,
        facts.calls(),
        facts.sparse_calls());
  }

  private static void write(Site site, SiteFacts facts) {
    Key from = site.key();
    facts
        .key()
        .caller(from.caller())
        .batch(from.batch())
        .queries(from.queries())
        .keys(from.keys())
        .heads_q(from.headsQ())
        .heads_kv(from.headsKv())
        .head_dim(from.headDim())
        .dtype(from.numbers().get(0))
        .function(from.numbers().get(1))
        .causal(from.numbers().get(2))
        .flags(from.numbers().get(3))
        .sm_scale(from.thresholds().get(0))
        .simthreshd1(from.thresholds().get(1))
        .cdfthreshd(from.thresholds().get(2))
        .topk(from.thresholds().get(3))
        .pvthreshd(from.thresholds().get(4));
    facts.state(
        switch (site.state()) {
          case UNKNOWN -> attn4j.SiteState.kUnknown;
          case SPARSE -> attn4j.SiteState.kSparse;
          case DENSE -> attn4j.SiteState.kDense;
        });
    facts.share(site.share()).needed(site.needed());
    long[] words = new long[WORDS];
    for (int head : site.denseHeads()) {
      words[head / WORD] |= 1L << head % WORD;
    }
    for (int i = 0; i < WORDS; i++) {
      facts.dense_heads(i, words[i]);
    }
  }
}
