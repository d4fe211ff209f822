#!/usr/bin/env bash
# Trains on a Cloud TPU slice, one process on each of its machines.
#
#   export NAME=kl ZONE=us-central1-a ACCELERATOR=v5litepod-16 VERSION=v2-alpha-tpuv5-lite STORAGE=10.0.0.2:/runs
#   launch/tpu_vm.sh create                          makes the slice, installs this checkout, mounts STORAGE at /runs
#   launch/tpu_vm.sh run --config experiments/vidtok.py:kl_causal_488_4chn --workdir /runs/kl [--config.KEY=VALUE ...]
#   launch/tpu_vm.sh logs                            follows the first machine's output
#   launch/tpu_vm.sh stop                            saves and stops; the slice stays
#   launch/tpu_vm.sh resume --config ... --workdir /runs/kl      continues; makes the slice anew where it was taken away
#   launch/tpu_vm.sh delete                          gives the slice back
#
# STORAGE is an NFS export, such as a Filestore instance's, that all machines reach. SPOT=yes asks for a spot slice.
# See launch/README.md.
set -euo pipefail

UNIT=tokjax

fail() {
  echo "tpu_vm.sh: $1" >&2
  exit 2
}

# tpu VERB OPTION...: of this slice.
tpu() {
  local verb=$1
  shift
  gcloud compute tpus tpu-vm "$verb" "$NAME" --zone="$ZONE" "$@"
}

# on MACHINES COMMAND: runs a shell command there, on "all" or on one by its number.
on() {
  tpu ssh --worker="$1" --command="$2"
}

create() {
  local name
  for name in ACCELERATOR VERSION STORAGE; do
    [[ -n ${!name-} ]] || fail "set $name; the head of this script shows an example"
  done
  tpu create --accelerator-type="$ACCELERATOR" --version="$VERSION" ${SPOT:+--spot}
  install
}

# The files that git knows of, in an environment with a Python of its own: that of the machines is older than 3.11.
install() {
  local archive
  archive=$(mktemp --suffix=.tar.gz)
  (cd "$(dirname "$0")/.." && git ls-files -z | tar --create --gzip --null --files-from=- --file="$archive")
  gcloud compute tpus tpu-vm scp "$archive" "$NAME:tokjax.tar.gz" --zone="$ZONE" --worker=all
  rm "$archive"
  on all "set -e
    sudo apt-get install --yes --quiet nfs-common
    sudo mkdir --parents /runs
    mountpoint --quiet /runs || sudo mount --types nfs $(quoted "$STORAGE") /runs
    mkdir --parents ~/tokjax
    tar --extract --gzip --file=\$HOME/tokjax.tar.gz --directory=\$HOME/tokjax
    python3 -m pip install --quiet --user uv
    cd ~/tokjax
    ~/.local/bin/uv venv --quiet --allow-existing --python 3.12 .venv
    ~/.local/bin/uv pip install --quiet --python .venv/bin/python '.[tpu]'"
}

# The words as a shell reads them back.
quoted() {
  printf '%q ' "$@"
}

# A unit of systemd outlives the connection, gets SIGTERM when its machine is shut down, and is started again where that helps:
# after 75 and after a crash, but not after the end (0), an error in one sentence (1), a wrong command line (2), or `stop`.
run() {
  [[ $# -gt 0 ]] || fail "give the arguments of tokjax train: --config ... --workdir /runs/..."
  on all "sudo systemctl reset-failed $UNIT 2>/dev/null
    sudo systemd-run --unit=$UNIT --uid=\$(id --user) --working-directory=\$HOME/tokjax \
      --property=Restart=on-failure --property=RestartSec=20 --property=RestartPreventExitStatus='1 2' \
      --property=RestartForceExitStatus=75 --property=SuccessExitStatus=75 \
      --property=TimeoutStopSec=600 --property=KillMode=mixed \
      \$HOME/tokjax/.venv/bin/tokjax train --distributed $(quoted "$@")"
}

resume() {
  local state
  state=$(tpu describe --format='value(state)' 2>/dev/null) || state=
  if [[ $state != READY ]]; then
    [[ -z $state ]] || tpu delete --quiet
    create
  fi
  run "$@"
}

[[ -n ${NAME-} && -n ${ZONE-} ]] || fail "set NAME and ZONE; the head of this script shows an example"
verb=${1-}
[[ $# -eq 0 ]] || shift
case $verb in
  create) create ;;
  run) run "$@" ;;
  logs) on 0 "journalctl --unit=$UNIT --follow --lines=50 --output=cat" ;;
  stop) on all "sudo systemctl stop $UNIT" ;;
  resume) resume "$@" ;;
  delete) tpu delete --quiet ;;
  *) fail "say what to do: create, run, logs, stop, resume or delete" ;;
esac
