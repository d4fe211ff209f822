#!/usr/bin/env bash
# Starts, or continues, a run on Google Kubernetes Engine: fills in launch/gke.yaml and applies its variant for GPU or TPU nodes.
#
#   IMAGE=... launch/gke.sh gpu --config experiments/vidtok.py:kl_causal_488_4chn --workdir /runs/kl [--config.KEY=VALUE ...]
#   IMAGE=... ACCELERATOR=tpu-v5-lite-podslice TOPOLOGY=4x4 NODES=4 launch/gke.sh tpu --config ... --workdir /runs/kl
#
#   IMAGE        container image with tokjax and the experiment files; no default
#   NAME         of the JobSet; default tokjax
#   NODES        how many, one pod on each; default 1
#   ACCELERATOR  as the node pool's label says; default nvidia-h100-80gb, or tpu-v5-lite-podslice
#   DEVICES      on each node; default 8 GPUs, or 4 chips
#   TOPOLOGY     of the TPU slice; default 2x2
#   CLAIM        PersistentVolumeClaim (ReadWriteMany) that is mounted at /runs; default tokjax-runs
#
# Stop, continue, watch: see launch/README.md.
set -euo pipefail

fail() {
  echo "gke.sh: $1" >&2
  exit 2
}

kind=${1-}
case $kind in
  gpu) accelerator=nvidia-h100-80gb devices=8 ;;
  tpu) accelerator=tpu-v5-lite-podslice devices=4 ;;
  *) fail "say which nodes first, gpu or tpu, as in: IMAGE=... launch/gke.sh gpu --config ... --workdir /runs/kl" ;;
esac
shift
[[ -n ${IMAGE-} ]] || fail "set IMAGE to the container image that holds tokjax"
[[ $# -gt 0 ]] || fail "give the arguments of tokjax train: --config ... --workdir /runs/..."
NAME=${NAME:-tokjax} NODES=${NODES:-1} CLAIM=${CLAIM:-tokjax-runs} TOPOLOGY=${TOPOLOGY:-2x2}
ACCELERATOR=${ACCELERATOR:-$accelerator} DEVICES=${DEVICES:-$devices}

# Each argument as a quoted YAML string, one a line of the list.
ARGUMENTS=
for argument in "$@"; do
  argument=${argument//\\/\\\\}
  argument=${argument//\"/\\\"}
  ARGUMENTS+="${ARGUMENTS:+$'\n                    - '}\"$argument\""
done

text=$(<"$(dirname "$0")/gke.yaml")
for name in NAME IMAGE NODES ACCELERATOR DEVICES TOPOLOGY CLAIM; do
  text=${text//"\${$name}"/"${!name}"}
done
text=${text//"\"\${ARGUMENTS}\""/"$ARGUMENTS"}
kubectl apply --selector="accelerator=$kind" --filename=- <<<"$text"
