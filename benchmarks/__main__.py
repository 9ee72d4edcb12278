"""All of them: `python -m benchmarks`, or by name: `python -m benchmarks unet loop`."""

import subprocess
import sys

for name in sys.argv[1:] or ("unet", "dit", "loop", "gan", "batches", "busy"):
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
