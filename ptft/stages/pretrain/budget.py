"""How long to train: tokens, steps, and passes over the corpus."""

from __future__ import annotations

from dataclasses import dataclass

from ptft.stages.pretrain.recipe import PretrainRecipe

PASSES_WORTH_IT = 4  # more passes over the same text hardly help (Muennighoff et al. 2023)
TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022


@dataclass(frozen=True)
class Budget:
    """batch: sequences an optimizer step. passes: over the corpus."""

    steps: int
    batch: int
    tokens: int
    passes: float

    @property
    def is_wasteful(self) -> bool:
        return self.passes > PASSES_WORTH_IT


def budget_of(recipe: PretrainRecipe, parameters: int, corpus_tokens: int, seq_len: int) -> Budget:
    """What the recipe's tokens come to, in whole steps of whole sequences; `auto` is 20 tokens a parameter.

    parameters: those that one token goes through. Of a mixture of experts that is the active ones: the rule weighs the cost of
    a token, which follows from them, against the number of tokens.
    """
    wanted = TOKENS_PER_PARAMETER * parameters if recipe.tokens == "auto" else int(recipe.tokens)
    batch = max(1, recipe.batch_tokens // seq_len)
    steps = max(1, round(wanted / (batch * seq_len)))
    tokens = steps * batch * seq_len
    return Budget(steps, batch, tokens, tokens / max(corpus_tokens, 1))


def labelled_share(recipe: PretrainRecipe) -> float:
    """Of the tokens, those whose logits are made: a masked model's hidden ones, unless the loss is the model's own."""
    return 1.0 if recipe.is_causal or recipe.hardware.loss == "plain" else recipe.masking.rate
