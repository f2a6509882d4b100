"""Which network is trained: a family at a wanted size, a preset, a configuration file, or a checkpoint to go on from."""

from ptft.stages.pretrain.architectures.build import config_for, new_model
from ptft.stages.pretrain.architectures.checkpoint import (
    config_from,
    load_from,
    refuse_other_tokenizer,
    require_positions,
)

__all__ = ["config_for", "config_from", "load_from", "new_model", "refuse_other_tokenizer", "require_positions"]
