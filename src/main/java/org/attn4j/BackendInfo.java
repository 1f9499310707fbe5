package org.attn4j;

/**
 * Whether one backend can be used in this process at all, whatever the request.
 *
 * @param name the backend's name in lower case, for example {@code sage}
 * @param ready whether it can serve requests here
 * @param reason one sentence: what it runs on, or what is missing
 * @see Attention#backends
 */
public record BackendInfo(String name, boolean ready, String reason) {}
