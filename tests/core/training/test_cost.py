from __future__ import annotations

import contextlib

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from ptft.core.training.cost import Load, flops_per_token, logits, memory_of, sizes_from, sizes_of
from ptft.core.training.cost import activations as estimated
from ptft.core.training.heads import with_loss
from ptft.core.training.optimizers import is_hidden_matrix

SIZES = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUPED = {"num_key_value_heads": 2, "head_dim": 16}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SIZES, **GROUPED, tie_word_embeddings=True),
    "qwen3": lambda: transformers.Qwen3Config(**SIZES, **GROUPED, tie_word_embeddings=False),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=320, n_embd=64, n_layer=3, n_head=4, n_positions=64, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    ),
    "mixtral": lambda: transformers.MixtralConfig(**SIZES, **GROUPED, num_local_experts=4, num_experts_per_tok=2),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(
        **SIZES, **GROUPED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=80
    ),
    "bert": lambda: transformers.BertConfig(**SIZES, hidden_dropout_prob=0, attention_probs_dropout_prob=0),
    "modernbert": lambda: transformers.ModernBertConfig(**SIZES, cls_token_id=1, sep_token_id=2, local_attention=16),
}
MASKED = ("bert", "modernbert")


def build(family, **more):
    transformers.set_seed(1)
    auto = transformers.AutoModelForMaskedLM if family in MASKED else transformers.AutoModelForCausalLM
    return auto.from_config(CONFIGS[family](), **more).train()


def counted_saved_bytes(model, load):
    """What autograd keeps from the base model's forward pass, weights and their 16-bit copies left out: bytes."""
    weights = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    shapes = {tuple(shape) for p in model.parameters() for shape in (p.shape, p.shape[::-1])}
    kept: dict[int, tuple[torch.Tensor, int]] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        is_copy = tensor.dtype == torch.bfloat16 and tuple(tensor.shape) in shapes
        if storage.data_ptr() not in weights and not is_copy:
            kept[storage.data_ptr()] = (tensor, storage.nbytes())
        return tensor

    half = torch.autocast("cpu", torch.bfloat16) if load.low else contextlib.nullcontext()
    ids = torch.arange(load.tokens).view(load.micro_batch, load.seq_len) % 300
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), half:
        outputs = model.base_model(input_ids=ids)
    assert outputs.last_hidden_state.requires_grad
    return sum(size for _, size in kept.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", CONFIGS)
def test_activations_are_what_autograd_keeps(family, precision):
    load = Load(6, 48, precision)
    model = build(family)
    assert estimated(model.config, load) == pytest.approx(counted_saved_bytes(model, load), rel=0.2)


@pytest.mark.parametrize("family", CONFIGS)
def test_activations_of_each_further_layer_are_exact(family):
    load, found, expected = Load(6, 48), [], []
    for layers in (3, 4):
        config = CONFIGS[family]()
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = ["full_attention"] * layers
        auto = transformers.AutoModelForMaskedLM if family in MASKED else transformers.AutoModelForCausalLM
        found.append(counted_saved_bytes(auto.from_config(config).train(), load))
        expected.append(estimated(config, load))
    assert expected[1] - expected[0] == pytest.approx(found[1] - found[0], rel=0.05)


def test_checkpointing_keeps_one_layer():
    model = build("llama")
    model.config.num_hidden_layers = 40
    plain, less = (estimated(model.config, Load(6, 48, checkpointing=on)) for on in (False, True))
    assert less < plain / 5
    model = build("llama")
    model.gradient_checkpointing_enable()
    kept = counted_saved_bytes(model, Load(6, 48))
    layer = Load(6, 48)
    one = estimated(model.config, layer) // 3
    assert kept + one == pytest.approx(estimated(model.config, Load(6, 48, checkpointing=True)), rel=0.25)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "bert", "modernbert"])
def test_flops_are_those_of_the_matrix_products(family):
    """Against torch's own counter, with attention written out; the embedding look-up has none there either."""
    model = build(family, attn_implementation="eager")
    ids = torch.arange(96).view(2, 48)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids).logits.sum().backward()
    if family == "modernbert":  # eager attention computes positions outside the window too, and hides them
        model.config.local_attention = 48
    assert counter.get_total_flops() / 96 == pytest.approx(flops_per_token(model.config, 48), rel=0.01)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_flops_of_a_mixture_are_those_of_the_experts_in_use(family):
    model = build(family, attn_implementation="eager", experts_implementation="eager")
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.arange(96).view(2, 48)).logits.sum().backward()
    assert counter.get_total_flops() / 96 == pytest.approx(flops_per_token(model.config, 48), rel=0.01)


def test_a_window_attends_to_less():
    config = CONFIGS["modernbert"]()  # of three layers the first sees everything, the others 16 positions
    sizes = sizes_from(config)
    attention = flops_per_token(config, 64) - 6 * (sizes.multiplied + sizes.output)
    assert attention == 12 * 64 * (64 + 16 + 16)


def test_unlabelled_tokens_need_no_output_layer():
    config = CONFIGS["bert"]()
    saved = flops_per_token(config, 48) - flops_per_token(config, 48, labelled=0.25)
    assert saved == 6 * 0.75 * 320 * 64


@pytest.mark.parametrize("family", CONFIGS)
def test_sizes_count_the_model(family):
    model = build(family)
    sizes = sizes_of(model)
    assert sizes == sizes_from(model.config)
    assert sizes.parameters == sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())
    if family in ("mixtral", "qwen3_moe"):
        idle = sum(p.numel() for name, p in model.named_parameters() if "experts" in name) // 2
        assert sizes.parameters - sizes.active == idle > 0
    else:
        assert sizes.active == sizes.parameters


def test_the_optimizers_state_is_as_large_as_said():
    model = build("llama")
    sizes = sizes_of(model)
    model(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
    for name in ("adamw", "muon"):
        inside = [p for n, p in model.named_parameters() if is_hidden_matrix(n, p)] if name == "muon" else []
        rest = [p for p in model.parameters() if not any(p is other for other in inside)]
        parts = [torch.optim.AdamW(rest), *([torch.optim.Muon(inside)] if inside else [])]
        for part in parts:
            part.step()
        state = [value for part in parts for held in part.state.values() for value in held.values()]
        found = sum(tensor.numel() * tensor.element_size() for tensor in state if tensor.dim())
        assert memory_of(model.config, sizes, Load(1, 8, optimizer=name)).optimizer == pytest.approx(found, rel=0.01)


def test_memory_by_part_adds_up_and_shards():
    config = CONFIGS["llama"]()
    sizes = sizes_from(config)
    alone = memory_of(config, sizes, Load(2, 32))
    assert alone.weights == alone.gradients == 4 * sizes.parameters and alone.optimizer == 8 * sizes.parameters
    assert alone.total == alone.weights + alone.gradients + alone.optimizer + alone.activations + alone.logits
    ddp = memory_of(config, sizes, Load(2, 32, nproc=4))
    fsdp = memory_of(config, sizes, Load(2, 32, nproc=4, parallel="fsdp"))
    assert ddp.gradients == 2 * alone.gradients and fsdp.gradients == sizes.parameters
    assert fsdp.optimizer == alone.optimizer // 4 and fsdp.weights < alone.weights
    half = memory_of(config, sizes, Load(2, 32, "bf16"))
    assert half.weights == 4 * sizes.parameters + 2 * (sizes.matrices + sizes.output)
    assert half.activations < alone.activations
    frozen = memory_of(config, sizes, Load(2, 32), trainable=1000)
    assert (frozen.gradients, frozen.optimizer, frozen.weights) == (4000, 8000, alone.weights)


@pytest.mark.parametrize("chunked", [True, False])
def test_the_logits_memory_is_what_a_step_allocates(chunked):
    """The profiler's peak over the loss alone, of a model that is nearly all output layer."""
    config = transformers.LlamaConfig(**{**SIZES, "vocab_size": 32_000, "num_hidden_layers": 1, "hidden_size": 32})
    transformers.set_seed(1)
    model = transformers.LlamaForCausalLM(config).train()
    ids = torch.randint(0, 32_000, (4, 64))
    with with_loss(model, chunked=chunked):
        model(input_ids=ids, labels=ids).loss.backward()  # the gradients are there from now on
        held = peak_bytes(lambda: model(input_ids=ids, labels=ids).loss.backward())
    load = Load(4, 64, chunked=chunked)
    assert logits(config, load) + estimated(config, load) == pytest.approx(held, rel=0.3)


def peak_bytes(work):
    """The most bytes allocated at once while `work` runs, beyond those before it."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most
