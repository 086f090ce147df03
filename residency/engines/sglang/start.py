"""Runs SGLang's server with the token of RESIDENCY_SGLANG_TOKEN.

SGLang takes its token as an argument alone, and what stands on a command line every user of the machine
can read. Run by SGLang's own Python, which need not have this project.
"""

import os
import runpy
import sys

if __name__ == "__main__":
    token = os.environ.pop("RESIDENCY_SGLANG_TOKEN", "")
    if token:
        sys.argv += ["--api-key", token]
    runpy.run_module("sglang.launch_server", run_name="__main__")
