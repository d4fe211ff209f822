#!/usr/bin/env bash
# Trains on a Slurm cluster, one process per node, and puts itself back into the queue when its time is up.
#
#   sbatch --nodes=2 --gpus-per-node=8 --cpus-per-task=32 --time=12:00:00 launch/slurm.sh \
#     --config experiments/vidtok.py:kl_causal_488_4chn --workdir /shared/runs/kl [--config.KEY=VALUE ...]
#
# The workdir must be on storage that every node sees. See launch/README.md.
#SBATCH --job-name=tokjax
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
set -uo pipefail

STOPPED=75  # tokjax was asked to stop and has saved

# Under Slurm jax gives each process a single device unless it is told which ones to take.
if [[ -n ${SLURM_GPUS_ON_NODE:-} ]]; then
  JAX_LOCAL_DEVICE_IDS=$(seq -s, 0 $((SLURM_GPUS_ON_NODE - 1)))
  export JAX_LOCAL_DEVICE_IDS
fi

# A process that has saved and ended must not take those with it that are about to.
srun --kill-on-bad-exit=0 tokjax train --distributed "$@" &
step=$!

# Slurm warns the processes of the step. Where it warns this shell, the shell passes it on, and not through srun, which would kill
# them. The trap ends `wait` early, so it waits again for the true exit code.
warned=
trap 'warned=yes; scancel --signal=TERM "$SLURM_JOB_ID.0"' TERM
wait "$step"
code=$?
while [[ -n $warned ]]; do
  warned=
  wait "$step"
  code=$?
done

# A job that was cancelled by hand is no longer running in Slurm's eyes, and stays cancelled.
if [[ $code -eq $STOPPED ]]; then
  state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T 2>/dev/null)
  if [[ -z $state || $state == RUNNING ]]; then
    echo "stopped and saved; job $SLURM_JOB_ID goes back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
  fi
fi
exit "$code"
