# The encoder's training. `make train` is the whole of it, from DATA_DIR to the shipped
# files; every stage can be typed alone and goes on where it stopped.
#
#   DATA_DIR      where routing.jsonl.gz and prompts.jsonl.gz are (../shared/data)
#   DISTILL_WORK  checkpoints and caches (~/distill-work)
#   THREADS       of torch (1)

DATA_DIR ?= ../shared/data
DISTILL_WORK ?= $(HOME)/distill-work
THREADS ?= 1
STAGE = DATA_DIR=$(DATA_DIR) DISTILL_WORK=$(DISTILL_WORK) HF_HUB_OFFLINE=1 $(BIN)/python -m distill
SMOKE = DATA_DIR=$(DATA_DIR) DISTILL_WORK=$(CURDIR)/.work/smoke HF_HUB_OFFLINE=1 $(BIN)/python -m distill

.PHONY: train train-distilled train-smoke

train: $(VENV)/.train ## train, calibrate, evaluate and export the shipped encoder (hours)
	$(STAGE).prepare
	$(STAGE).student --threads $(THREADS) --name placed --epochs 3.4
	$(STAGE).student --threads $(THREADS) --name settled --start-from placed --rate 4e-4 --epochs 1.4
	$(STAGE).calibrate --name settled
	$(STAGE).evaluate --name settled
	$(STAGE).export --name settled
	$(STAGE).card --name settled

# The better road, not yet walked to its end (LOG.md): a teacher of six layers, then a student
# that learns from its logits.
train-distilled: $(VENV)/.train ## the same with a teacher and distillation (many hours)
	$(STAGE).prepare
	$(STAGE).teacher --threads $(THREADS) --write
	$(STAGE).distil --threads $(THREADS) --epochs 8
	$(STAGE).calibrate
	$(STAGE).evaluate
	$(STAGE).export --to $(DISTILL_WORK)/distilled/files
	$(STAGE).card --to $(DISTILL_WORK)/distilled/files

train-smoke: $(VENV)/.train ## the same on 300 rows, in under a minute
	rm -rf .work/smoke
	$(SMOKE).prepare --limit 300
	$(SMOKE).teacher --frozen 5 --epochs 0.3 --write
	$(SMOKE).distil --epochs 0.5
	$(SMOKE).calibrate
	$(SMOKE).evaluate
	$(SMOKE).export --to .work/smoke/files
	$(SMOKE).card --to .work/smoke/files
	$(BIN)/python -c 'from pathlib import Path; from sidecar.offline.session import Session; \
	  s = Session(bundle=Path(".work/smoke/files")); print(s.read(["what is two and two?"])[0].task)'

$(VENV)/.train: $(BIN)/python $(PACKAGE)
	@echo "Setting up $(VENV) for training (once) ..."
	@$(PIP) -e '.[train]'
	@touch $@
