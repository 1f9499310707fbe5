/** The chain of backends, and the one door to the native bindings. Internal. */
package org.attn4j.backend;
