"""Each head's loss is torch's and transformers' own, in one batch or in many."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch.nn import functional

from ptft.core.encoding import IGNORED
from ptft.core.training.objectives import Objective, labels_in

torch.manual_seed(0)
LOGITS = torch.randn(8, 3)
CLASSES = torch.tensor([0, 0, 0, 0, 1, 1, 2, 0])
FLAGS = (torch.rand(8, 3) < 0.4).float()
NUMBERS = torch.randn(8)
WEIGHTS = tuple(8 / (3 * count) for count in (5, 2, 1))


def mean(objective, logits, labels):
    return float(objective.summed(SimpleNamespace(logits=logits), labels)) / labels_in(labels)


def test_classes_are_weighted_as_in_torch_and_scikit_learn():
    weighed = mean(Objective("class", WEIGHTS), LOGITS, CLASSES)
    assert weighed == pytest.approx(functional.cross_entropy(LOGITS, CLASSES, weight=torch.tensor(WEIGHTS)).item())
    rows = np.array(WEIGHTS)[CLASSES]
    assert weighed == pytest.approx(log_loss(CLASSES, LOGITS.double().softmax(-1), sample_weight=rows), rel=1e-5)
    assert weighed != pytest.approx(mean(Objective("class"), LOGITS, CLASSES), rel=1e-3)
    assert mean(Objective("class"), LOGITS, CLASSES) == pytest.approx(functional.cross_entropy(LOGITS, CLASSES).item())


def test_several_labels_are_weighted_as_in_torch():
    weights = (1.0, 3.0, 0.5)
    expected = functional.binary_cross_entropy_with_logits(LOGITS, FLAGS, pos_weight=torch.tensor(weights))
    assert mean(Objective("multi-label", weights), LOGITS, FLAGS) == pytest.approx(expected.item())
    plain = functional.binary_cross_entropy_with_logits(LOGITS, FLAGS)
    assert mean(Objective("multi-label"), LOGITS, FLAGS) == pytest.approx(plain.item())


def test_numbers_have_the_mean_squared_error_and_are_not_spread_over_one_another():
    found = mean(Objective("regression"), LOGITS[:, :1], NUMBERS)
    assert found == pytest.approx(((LOGITS[:, 0] - NUMBERS) ** 2).mean().item())


def test_tags_that_are_ignored_have_no_loss():
    logits, labels = torch.randn(2, 4, 3), torch.tensor([[0, 1, IGNORED, IGNORED], [2, 2, 1, IGNORED]])
    expected = functional.cross_entropy(logits.view(-1, 3), labels.view(-1), ignore_index=IGNORED)
    assert mean(Objective("tags"), logits, labels) == pytest.approx(expected.item())


def test_a_span_has_the_mean_of_both_ends():
    starts, ends, labels = torch.randn(3, 5), torch.randn(3, 5), torch.tensor([[0, 1], [2, 2], [3, 4]])
    outputs = SimpleNamespace(start_logits=starts, end_logits=ends)
    expected = (functional.cross_entropy(starts, labels[:, 0]) + functional.cross_entropy(ends, labels[:, 1])) / 2
    found = Objective("span").summed(outputs, labels) / labels_in(labels)
    assert found == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("objective", "logits", "labels"),
    [
        (Objective("class", WEIGHTS), LOGITS, CLASSES),
        (Objective("multi-label", (1.0, 3.0, 0.5)), LOGITS, FLAGS),
        (Objective("regression"), LOGITS[:, :1], NUMBERS),
    ],
)
def test_many_small_batches_are_one_big_one(objective, logits, labels):
    """Weights must not make each batch's mean weigh the same, as torch's own weighted mean would."""
    parts = [
        objective.summed(SimpleNamespace(logits=part), wanted)
        for part, wanted in zip(logits.split(3), labels.split(3), strict=True)
    ]
    assert float(sum(parts)) / labels_in(labels) == pytest.approx(mean(objective, logits, labels), rel=1e-5)


def test_half_precision_outputs_have_a_full_precision_loss():
    loss = Objective("class").summed(SimpleNamespace(logits=LOGITS.bfloat16()), CLASSES)
    assert loss.dtype == torch.float32


def test_a_span_is_chosen_among_the_tokens_of_its_row_however_it_is_padded():
    starts, ends, labels = torch.randn(1, 5), torch.randn(1, 5), torch.tensor([[1, 3]])
    padded = [torch.nn.functional.pad(logits, (0, 4), value=2.0) for logits in (starts, ends)]
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0, 0]])
    alone = Objective("span").summed(SimpleNamespace(start_logits=starts, end_logits=ends), labels, mask[:, :5])
    beside = Objective("span").summed(SimpleNamespace(start_logits=padded[0], end_logits=padded[1]), labels, mask)
    assert torch.allclose(alone, beside)
