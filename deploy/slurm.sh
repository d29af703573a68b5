#!/usr/bin/env bash
# A sweep and its prediction on nodes that Slurm gives: `sbatch deploy/slurm.sh`. Edit what is marked EDIT.
#
# One Ray for the job, by `ray symmetric-run` (docs.ray.io, "Deploying on Slurm"): it starts Ray on every node, runs
# the job on the first when all have joined, and ends each of your Rays there, so the nodes are taken whole.
# The same script once more continues.
#
#SBATCH --job-name=ray-birds
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --exclusive
#SBATCH --time=12:00:00
set -euo pipefail

# shellcheck source=/dev/null
source "$HOME/ray-birds-env/bin/activate"  # EDIT: where `pip install '.[gpu]'` was run
export SHARED=$HOME/ray-birds              # EDIT: a folder that all nodes see

job() {
    set -euo pipefail
    sweep() { ray-birds tune --data "$SHARED/birds" --results "$SHARED/results" --name first "$@"; }
    sweep || sweep --resume  # a new sweep, or the one that an earlier attempt began
    ray-birds predict --model "$SHARED/results/first/best" --input "$SHARED/new" --output "$SHARED/predictions" \
        --resume
}
export -f job

# Whoever knows the token may run code here as you: without one, all that reach the node could.
umask 077
export RAY_AUTH_MODE=token
ray get-auth-token --generate > /dev/null  # ~/.ray/auth_token, unless it is there; all nodes see your home

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000))
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    ray symmetric-run --address "$first:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$SLURM_GPUS_ON_NODE" -- bash -c job
