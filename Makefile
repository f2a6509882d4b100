# make demo   sets everything up and takes real text to a quantised, evaluated model
# make test   sets everything up and runs the tests
# Needed: Python 3.11 or newer, make, and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PTFT := $(BIN)/ptft

.PHONY: install demo demo-clean test check bench clean
.DELETE_ON_ERROR:

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[demo,dev]'
	touch $@

# ---------------------------------------------------------------- the demo: one ptft command a stage
# Every stage runs ptft, and ptft itself says "up to date" where inputs and settings are the same (by hashes, not by time).

D := build/demo
SEEDS := 1 2 3
PER_LABEL := 4
BASE := $(D)/pretrain/run.json
TRAIN := $(D)/split/train.jsonl
TEST := $(D)/split/test.jsonl
TASKS := $(foreach seed,$(SEEDS),$(foreach init,base scratch,$(D)/task-$(init)-$(seed)/run.json))
SCORES := $(foreach seed,$(SEEDS),$(foreach model,base scratch tfidf,$(D)/eval-$(model)-$(seed)/run.json))
EXPORTS := $(D)/eval-export-int8-dynamic/run.json $(D)/eval-export-int4/run.json $(D)/exports-base/run.json

demo: $(D)/eval-text/run.json $(D)/instruction/run.json $(SCORES) $(EXPORTS)
	@$(BIN)/python recipes/demo/table.py $(D)

FORCE:

$(D)/raw/bbc.jsonl: recipes/demo/fetch.py | $(VENV)/installed
	$(BIN)/python recipes/demo/fetch.py $(D)/raw

$(D)/raw/chat.jsonl: $(D)/raw/bbc.jsonl ;

$(D)/clean/run.json: $(D)/raw/bbc.jsonl FORCE
	$(PTFT) clean $(D)/raw/bbc.jsonl -o $(D)/clean

$(D)/split/run.json: $(D)/clean/run.json FORCE
	$(PTFT) split $(D)/clean/corpus.jsonl --stratify label --val 0.05 --test 0.2 -o $(D)/split

$(D)/tokenizer/run.json: $(D)/split/run.json FORCE
	$(PTFT) tokenizer $(TRAIN) --vocab-size 4096 -o $(D)/tokenizer

$(D)/pack/run.json: $(D)/tokenizer/run.json FORCE
	$(PTFT) pack $(TRAIN) -t $(D)/tokenizer --seq-len 256 --val 0.03 -o $(D)/pack

$(D)/pretrain/run.json: $(D)/pack/run.json recipes/demo/pretrain.yaml FORCE
	$(PTFT) pretrain $(D)/pack --recipe recipes/demo/pretrain.yaml -o $(D)/pretrain

$(D)/eval-text/run.json: $(BASE) FORCE
	$(PTFT) eval $(D)/pretrain $(TEST) --metrics perplexity,bits_per_byte -o $(D)/eval-text

$(D)/chat/run.json: $(D)/raw/chat.jsonl FORCE
	$(PTFT) clean $(D)/raw/chat.jsonl -o $(D)/chat

$(D)/chat-split/run.json: $(D)/chat/run.json FORCE
	$(PTFT) split $(D)/chat/corpus.jsonl --stratify lang --val 0.1 --test 0 -o $(D)/chat-split

$(D)/instruction/run.json: $(BASE) $(D)/chat-split/run.json FORCE
	$(PTFT) finetune instruction $(D)/pretrain $(D)/chat-split/train.jsonl --eval-data $(D)/chat-split/val.jsonl --epochs 2 -o $(D)/instruction

define SEED_RULES
$(D)/task-base-$(1)/run.json: $(BASE) FORCE
	$(PTFT) finetune task $(D)/pretrain $(TRAIN) --per-label $(PER_LABEL) --seed $(1) --recipe recipes/demo/task.yaml -o $(D)/task-base-$(1)

$(D)/task-scratch-$(1)/run.json: $(BASE) FORCE
	$(PTFT) finetune task $(D)/pretrain $(TRAIN) --per-label $(PER_LABEL) --seed $(1) --recipe recipes/demo/task.yaml --set init=scratch -o $(D)/task-scratch-$(1)

$(D)/tfidf-$(1).jsonl: $(D)/split/run.json recipes/demo/tfidf.py
	$(BIN)/python recipes/demo/tfidf.py $(TRAIN) $(TEST) --per-label $(PER_LABEL) --seed $(1) > $(D)/tfidf-$(1).jsonl

$(D)/eval-tfidf-$(1)/run.json: $(D)/tfidf-$(1).jsonl FORCE
	$(PTFT) eval -p $(D)/tfidf-$(1).jsonl --metrics accuracy,f1 -o $(D)/eval-tfidf-$(1)
endef
$(foreach seed,$(SEEDS),$(eval $(call SEED_RULES,$(seed))))

$(D)/eval-base-%/run.json: $(D)/task-base-%/run.json $(D)/eval-tfidf-%/run.json FORCE
	$(PTFT) eval $(D)/task-base-$* $(TEST) --by length --against $(D)/eval-tfidf-$* -o $(D)/eval-base-$*

$(D)/eval-scratch-%/run.json: $(D)/task-scratch-%/run.json FORCE
	$(PTFT) eval $(D)/task-scratch-$* $(TEST) -o $(D)/eval-scratch-$*

$(D)/exports/run.json: $(D)/task-base-1/run.json FORCE
	$(PTFT) export $(D)/task-base-1 --to int8-dynamic,int4 --format onnx --calibration $(TRAIN) --verify $(D)/split/val.jsonl -o $(D)/exports

$(D)/eval-export-%/run.json: $(D)/exports/run.json $(D)/eval-base-1/run.json FORCE
	$(PTFT) eval $(D)/exports/$*-onnx $(TEST) --against $(D)/eval-base-1 -o $(D)/eval-export-$*

$(D)/exports-base/run.json: $(BASE) FORCE
	$(PTFT) export $(D)/pretrain --to int8,int4 --format onnx,gguf --calibration $(TRAIN) --verify $(D)/split/val.jsonl -o $(D)/exports-base

demo-clean:
	rm -rf $(D)

# ---------------------------------------------------------------- the workshop

check: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/installed
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n 2 --dist loadfile

# Tables beside the peers, hours in all: `make bench` for everything, or one of these with one of its modes.
bench: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/clean.py all
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/tokenizer.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/pack.py
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/pretrain.py all
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/finetune.py all
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/eval.py all
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/export.py all

clean:
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis
