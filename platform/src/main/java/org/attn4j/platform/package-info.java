/** Starts the doctor of {@code java -jar}. */
package org.attn4j.platform;
