package org.attn4j.torch.djl;

import ai.djl.engine.Engine;
import ai.djl.repository.zoo.ModelZoo;
import ai.djl.repository.zoo.ZooProvider;
import java.util.Set;
import org.attn4j.torch.TorchHook;

/**
 * Installs the hook in programs of DJL: its service loader asks every provider on the class path
 * for models before the first one is loaded by criteria. This one has none.
 */
public final class HookZooProvider implements ZooProvider {
  /** Called by the service loader. */
  public HookZooProvider() {}

  @Override
  public ModelZoo getModelZoo() {
    if (Engine.hasEngine("PyTorch")) {
      TorchHook.installAndLog();
    }
    return new EmptyZoo();
  }

  private static final class EmptyZoo extends ModelZoo {
    @Override
    public String getGroupId() {
      return "org.attn4j";
    }

    @Override
    public Set<String> getSupportedEngines() {
      return Set.of();
    }
  }
}
