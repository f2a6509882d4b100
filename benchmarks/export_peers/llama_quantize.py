"""A GGUF file in F32 or F16 quantised by llama.cpp's own code, K-quants too, which only that has.

python llama_quantize.py '{"source": FILE.gguf, "out": FOLDER, "type": "Q8_0"|"Q4_0"|"Q4_K_M"|..., "report": FILE}'
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

import llama_cpp
from common import finish, memory, options, threads


def main() -> None:
    given = options()
    out = Path(given["out"])
    out.mkdir(parents=True, exist_ok=True)
    silence = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silence, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{given['type']}")
    settings.nthread = threads()
    started = time.perf_counter()
    target = out / "model.gguf"
    code = llama_cpp.llama_model_quantize(given["source"].encode(), str(target).encode(), ctypes.byref(settings))
    if code:
        raise SystemExit(f"llama_model_quantize ended with {code}")
    found = {"seconds": time.perf_counter() - started, "peak": memory()["peak"], "bytes": target.stat().st_size}
    finish(given, found)


if __name__ == "__main__":
    main()
