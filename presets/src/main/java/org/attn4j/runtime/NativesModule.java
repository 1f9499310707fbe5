package org.attn4j.runtime;

/**
 * Provided by the module of each JAR of natives, and used by ours: so the module system resolves
 * the natives that lie on the module path although no module requires them. Nobody calls it.
 */
public interface NativesModule {}
