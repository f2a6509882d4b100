"""Ways to train: all weights, some of them, or few new ones beside them."""

from ptft.stages.finetune.methods.attach import attach
from ptft.stages.finetune.methods.peft_methods import PROMPT_METHODS
from ptft.stages.finetune.methods.rates import default_lr
from ptft.stages.finetune.methods.saving import save
from ptft.stages.finetune.methods.skeleton import skeleton
from ptft.stages.finetune.methods.unfit import refuse_unfit

__all__ = ["PROMPT_METHODS", "attach", "default_lr", "refuse_unfit", "save", "skeleton"]
