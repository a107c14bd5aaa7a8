#!/usr/bin/env bash
# The tests marked `isa` under each instruction set that this processor has, in fresh processes: oneDNN's, then PyTorch's own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for isa in $(python -c "from reid import devices; print(*(name for name in devices.instruction_sets() if name != 'SSE41'))"); do
  echo "ONEDNN_MAX_CPU_ISA=$isa"
  ONEDNN_MAX_CPU_ISA=$isa python -m pytest -q -n 0 -m isa
done
for capability in default avx2 avx512; do
  if [ "$(ATEN_CPU_CAPABILITY=$capability python -c "import torch; print(torch.backends.cpu.get_cpu_capability().lower())")" = "$capability" ]; then
    echo "ATEN_CPU_CAPABILITY=$capability"
    ATEN_CPU_CAPABILITY=$capability python -m pytest -q -n 0 -m isa
  fi
done
