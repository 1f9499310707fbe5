/** What JavaCPP is told about the C++ headers. Internal. */
package org.attn4j.presets;
