/**
 * The loader: which native library serves each GPU of the process, and why. Internal; programs see
 * what it found through {@code org.attn4j.Doctor} and {@code Attention.backends()}.
 */
package org.attn4j.runtime;
