#!/usr/bin/env bash
# A Slurm array: each task cleans one shard. A task that is run again goes on, or finds its manifest and does nothing.
#   sbatch --array=0-63 slurm-array.sh OUT INPUT [options of cpm clean]
# Single shards again: SHARDS=64 sbatch --array=3,17 slurm-array.sh OUT INPUT ...
# Duplicates over all shards: add --signatures here, then run `cpm dedup OUT -o UNIQUE` with --dependency=afterok:JOB.
#SBATCH --job-name=cpm-clean
#SBATCH --requeue
set -euo pipefail
if [ -z "${SHARDS:-}" ] && [ "$SLURM_ARRAY_TASK_MIN/$SLURM_ARRAY_TASK_MAX" != "0/$((SLURM_ARRAY_TASK_COUNT - 1))" ]; then
  echo "tasks $SLURM_ARRAY_TASK_MIN to $SLURM_ARRAY_TASK_MAX, $SLURM_ARRAY_TASK_COUNT of them: set SHARDS to the number of all shards" >&2
  exit 2
fi
out=$1 input=$2
shift 2
exec ${CPM:-npx cpm} clean "$input" -o "$out" --shard "$SLURM_ARRAY_TASK_ID/${SHARDS:-$SLURM_ARRAY_TASK_COUNT}" "$@"
