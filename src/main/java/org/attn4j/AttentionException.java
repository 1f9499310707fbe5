package org.attn4j;

/**
 * What every exception of this library has in common: a message of one sentence that names the
 * argument or call, what was found and what is accepted.
 *
 * <p>An interface, so that each exception can extend the standard one that Java programs already
 * handle. All of them are unchecked, and all but {@link CudaException} are thrown before anything
 * is enqueued.
 */
public sealed interface AttentionException
    permits InvalidAttentionArgumentException,
        ClosedTensorException,
        UnsupportedAttentionException,
        CudaException {

  /** {@return the sentence that says what was wrong} */
  String getMessage();
}
