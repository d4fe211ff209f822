#!/usr/bin/env bash
# Trains on this machine, on all of its devices, until the run is finished, stopped or killed. The same command continues it.
#
#   launch/local.sh --config experiments/vidtok.py:kl_causal_488_4chn --workdir runs/kl [--config.KEY=VALUE ...]
#
# Ctrl-C or `kill PID` saves and ends with exit code 75. See launch/README.md.
set -euo pipefail

exec tokjax train "$@"
