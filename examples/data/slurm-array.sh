#!/usr/bin/env bash
# A Slurm array: each task cleans one shard. A task that is run again goes on, or finds its manifest and does nothing.
#   sbatch --array=0-63 slurm-array.sh OUT INPUT [options of cpm clean]
#SBATCH --job-name=cpm-clean
#SBATCH --requeue
set -euo pipefail
out=$1 input=$2
shift 2
exec ${CPM:-npx cpm} clean "$input" -o "$out" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" "$@"
