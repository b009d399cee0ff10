#!/usr/bin/env bash
# Starts Triton over the encoder's models. What the image `triton` runs; it needs no Docker.
#
#   MODELS  where the repositories are written (/models): writable, may be empty
#   PLANS   where TensorRT plans are kept (/plans): a volume, or they are built at every start
#   KIND    gpu, cpu, or auto: gpu where NVIDIA's driver is (auto)
#   MODEL   what the models are called before "_64" (router), as classifier.triton.model says
#   AGE_S   how long a connection of a client lives (300). A sidecar keeps its one for good
#           and a service chooses a pod once a connection: without an end to it, a pod that
#           was added would wait for clients in vain. Calls under way are finished first.
#
# On a GPU the plans are built at the first start, on the card that runs them. A plan that
# does not decide as the fp32 graph does is refused, and so is the start: sidecars go on by
# their own CPU path meanwhile. Arguments go on to tritonserver.
set -euo pipefail

models=${MODELS:-/models}
plans=${PLANS:-/plans}
kind=${KIND:-auto}
model=${MODEL:-router}
age=${AGE_S:-300}

if [ "$kind" = auto ]; then
  if [ -e /dev/nvidiactl ]; then kind=gpu; else kind=cpu; fi
fi
case $kind in
  gpu | cpu) ;;
  *) echo "KIND is $kind: use gpu, cpu or auto" >&2; exit 2 ;;
esac
case $age in
  "" | *[!0-9]* | 0) echo "AGE_S is $age: use whole seconds, 1 or more" >&2; exit 2 ;;
esac

python3 -m model_repo.generate --to "$models" --model "$model" >/dev/null
if [ "$kind" = gpu ]; then
  # Minutes, at the first start. As a container's first process bash would wait for their end
  # whatever it is sent, so a pod that is deleted meanwhile would hold its GPU until it is killed.
  python3 -m model_repo.plans --repository "$models/gpu" --cache "$plans" --model "$model" &
  building=$!
  trap 'kill "$building" || true; wait "$building" || true; exit 143' TERM INT
  wait "$building"
  trap - TERM INT
fi
exec tritonserver --model-repository="$models/$kind" --exit-timeout-secs=15 \
  --grpc-max-connection-age=$((age * 1000)) "$@"
